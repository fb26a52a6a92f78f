//! live: FilterLogEvents asks the hosts of the region, which look through what they have.

use awan_model::log_group::{Streams, Wanted, behind};
use awan_wire::logs;

use crate::dispatch::Live;
use crate::error::Result;
use crate::live;
use crate::logs::{invalid, is_stream_name, limit, no_such_stream, open, opened, pattern, range};

const LIMIT_MAX: i32 = 10_000;
const NAMES_MAX: usize = 100;

pub async fn filter_log_events(cx: Live, req: logs::FilterLogEventsRequest) -> Result<logs::FilterLogEventsResponse> {
    let logs::FilterLogEventsRequest {
        log_group_name,
        log_group_identifier,
        log_stream_names,
        log_stream_name_prefix,
        start_time,
        end_time,
        filter_pattern,
        next_token,
        limit: asked,
        start_from_head,
        // EC2 takes it for true since 2019.
        interleaved: _,
        // Nothing is masked.
        unmask: _,
    } = req;
    let streams = streams(log_stream_names, log_stream_name_prefix)?;
    let pattern = pattern(filter_pattern.as_deref().unwrap_or_default())?;
    let (limit, newest_first) = (limit(asked, LIMIT_MAX)?, start_from_head == Some(false));
    let named = (log_group_name.as_deref(), log_group_identifier.as_deref());
    let action = format!("FilterLogEvents {newest_first}");
    let (group, seal) = cx.control.db.read(cx.tenant.clone(), |tx| open(tx, &action, named))?;
    // Here the end is part of the range.
    let end_time = end_time.map(|end| end.saturating_add(i64::from(end >= 0)));
    let (mut from, mut until) = range(&group, start_time, end_time, cx.control.db.now())?;
    match opened(&seal, next_token.as_deref())? {
        Some(place) if newest_first => until = until.min(place),
        Some(place) => from = from.max(place),
        None => {}
    }
    if let Streams::Named(names) = &streams {
        let seen = live::streams(&cx, &group, streams.clone()).await?;
        if names.iter().any(|name| seen.iter().all(|seen| seen.name != *name)) {
            return Err(no_such_stream());
        }
    }
    let wanted = Wanted { streams, from, until, pattern, newest_first, limit };
    let found = live::events(&cx, &group, wanted).await?;
    let last = found.events.last().filter(|_| found.more).map(|last| {
        let place = last.position();
        if newest_first { place } else { behind(&place) }
    });
    let shown = found.events.into_iter().map(|event| logs::FilteredLogEvent {
        log_stream_name: Some(event.stream),
        timestamp: i64::try_from(event.at).ok(),
        message: Some(event.message),
        ingestion_time: i64::try_from(event.ingested).ok(),
        event_id: Some(event.id),
    });
    Ok(logs::FilterLogEventsResponse {
        events: shown.collect(),
        // EC2 fills it no more either.
        searched_log_streams: Vec::new(),
        next_token: last.map(|place| seal.close(&place)),
    })
}

fn streams(names: Vec<String>, prefix: Option<String>) -> Result<Streams> {
    if names.len() > NAMES_MAX || !names.iter().chain(&prefix).all(|name| is_stream_name(name)) {
        return Err(invalid(format!("A request has at most {NAMES_MAX} names of log streams, each without : and *.")));
    }
    match (names.is_empty(), prefix) {
        (false, Some(_)) => Err(invalid("logStreamNames and logStreamNamePrefix cannot be used together.")),
        (false, None) => Ok(Streams::Named(names)),
        (true, Some(prefix)) => Ok(Streams::Prefix(prefix)),
        (true, None) => Ok(Streams::All),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::testing::Cloud;

    #[test]
    fn events_are_found_by_time_stream_and_words_page_by_page() {
        let mut cloud = Cloud::new();
        let told = cloud.with_events(&[("eni-1-all", 10), ("eni-2-all", 15), ("eni-1-all", 20), ("eni-2-all", 30)]);
        cloud.tenant("acme").logs("CreateLogGroup", r#"{"logGroupName":"a"}"#).expect("makes");
        let mut find = |more: &str| {
            let told = cloud.tenant("acme").logs("FilterLogEvents", &format!(r#"{{"logGroupName":"a"{more}}}"#))?;
            let told: Value = serde_json::from_str(&told).expect("JSON");
            let events = told["events"].as_array().expect("a list").iter();
            let times: Vec<_> = events.map(|event| event["timestamp"].as_i64().expect("a time")).collect();
            Ok::<_, String>((times, told["nextToken"].as_str().map(str::to_owned)))
        };
        for (more, expected) in [
            ("", &[10, 15, 20, 30][..]),
            (r#","startTime":15,"endTime":20"#, &[15, 20]),
            (r#","logStreamNames":["eni-2-all"]"#, &[15, 30]),
            (r#","logStreamNamePrefix":"eni-1""#, &[10, 20]),
            (r#","logStreamNamePrefix":"eni-3""#, &[]),
            (r#","filterPattern":"\"at 20\"""#, &[20]),
            (r#","filterPattern":"-20 at""#, &[10, 15, 30]),
            (r#","startFromHead":false"#, &[30, 20, 15, 10]),
            (r#","interleaved":false,"unmask":true"#, &[10, 15, 20, 30]),
        ] {
            assert_eq!(find(more).expect(more), (expected.to_vec(), None), "{more}");
        }
        for (order, expected) in [("true", [10, 15, 20, 30]), ("false", [30, 20, 15, 10])] {
            let (mut all, mut next) = (Vec::new(), String::new());
            loop {
                let (times, token) = find(&format!(r#","limit":3,"startFromHead":{order}{next}"#)).expect("answers");
                all.extend(times);
                let Some(token) = token else { break };
                next = format!(r#","nextToken":"{token}""#);
            }
            assert_eq!(all, expected);
        }
        for (more, code) in [
            (r#","filterPattern":"[a, b]""#, "InvalidParameterException"),
            (r#","logStreamNames":["a"],"logStreamNamePrefix":"a""#, "InvalidParameterException"),
            (r#","logStreamNames":["eni-2-all","eni-9-all"]"#, "ResourceNotFoundException"),
            (r#","nextToken":"x""#, "InvalidParameterException"),
            (r#","endTime":-1"#, "InvalidParameterException"),
            (r#","limit":10001"#, "InvalidParameterException"),
        ] {
            assert!(find(more).expect_err(more).starts_with(code), "{more}");
        }
        told.abort();
    }

    #[test]
    fn a_host_that_is_away_is_no_empty_answer() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").logs("CreateLogGroup", r#"{"logGroupName":"a"}"#).expect("makes");
        let refusal = cloud.tenant("acme").logs("FilterLogEvents", r#"{"logGroupName":"a"}"#).expect_err("is away");
        assert!(refusal.starts_with("ServiceUnavailableException"), "{refusal}");
    }
}
