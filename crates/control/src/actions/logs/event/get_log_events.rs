//! live: GetLogEvents asks the hosts of the region for what they have of one stream.
//!
//! A token is a direction and a place between two events, so that pages neither repeat nor miss any, whichever way they
//! go.

use awan_model::log_group::{LogEvent, Pattern, Streams, Wanted, behind};
use awan_wire::logs;

use crate::dispatch::Live;
use crate::error::Result;
use crate::live;
use crate::logs::{invalid, is_stream_name, limit, no_such_stream, open, opened, range};

const LIMIT_MAX: i32 = 10_000;

pub async fn get_log_events(cx: Live, req: logs::GetLogEventsRequest) -> Result<logs::GetLogEventsResponse> {
    let logs::GetLogEventsRequest {
        log_group_name,
        log_group_identifier,
        log_stream_name,
        start_time,
        end_time,
        next_token,
        limit: asked,
        start_from_head,
        // Nothing is masked.
        unmask: _,
    } = req;
    let stream = log_stream_name.unwrap_or_default();
    if !is_stream_name(&stream) {
        return Err(invalid("The logStreamName is no name of a log stream."));
    }
    let limit = limit(asked, LIMIT_MAX)?;
    let named = (log_group_name.as_deref(), log_group_identifier.as_deref());
    let action = format!("GetLogEvents {stream}");
    let (group, seal) = cx.control.db.read(cx.tenant.clone(), |tx| open(tx, &action, named))?;
    let (from, until) = range(&group, start_time, end_time, cx.control.db.now())?;
    let token = opened(&seal, next_token.as_deref())?;
    let place = token.as_deref().and_then(|token| Some((token.strip_prefix("f/"), token.get(2..)?)));
    let (forward, from, until) = match place {
        Some((Some(_), place)) => (true, from.max(place.to_owned()), until),
        Some((None, place)) => (false, from, until.min(place.to_owned())),
        None => (start_from_head == Some(true), from, until),
    };
    let streams = Streams::Named(vec![stream]);
    if live::streams(&cx, &group, streams.clone()).await?.is_empty() {
        return Err(no_such_stream());
    }
    // Where there is nothing, both ways go on from where this one began.
    let here = place.map_or_else(|| from.clone(), |(_, place)| place.to_owned());
    let wanted = Wanted { streams, from, until, pattern: Pattern::default(), newest_first: !forward, limit };
    let mut events = live::events(&cx, &group, wanted).await?.events;
    if !forward {
        events.reverse();
    }
    let first = events.first().map_or_else(|| here.clone(), LogEvent::position);
    let last = events.last().map_or(here, |last| behind(&last.position()));
    let shown = |LogEvent { at, ingested, id: _, stream: _, message }| logs::OutputLogEvent {
        timestamp: i64::try_from(at).ok(),
        message: Some(message),
        ingestion_time: i64::try_from(ingested).ok(),
    };
    Ok(logs::GetLogEventsResponse {
        events: events.into_iter().map(shown).collect(),
        next_forward_token: Some(seal.close(&format!("f/{last}"))),
        next_backward_token: Some(seal.close(&format!("b/{first}"))),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::testing::Cloud;

    #[test]
    fn pages_go_both_ways_and_neither_repeat_nor_miss() {
        let mut cloud = Cloud::new();
        let told = cloud.with_events(&[("eni-1-all", 10), ("eni-2-all", 15), ("eni-1-all", 20), ("eni-1-all", 30)]);
        cloud.tenant("acme").logs("CreateLogGroup", r#"{"logGroupName":"a"}"#).expect("makes");
        let mut get = |more: &str, stream: &str| {
            let ask = format!(r#"{{"logGroupName":"a","logStreamName":"{stream}"{more}}}"#);
            let told = cloud.tenant("acme").logs("GetLogEvents", &ask)?;
            let told: Value = serde_json::from_str(&told).expect("JSON");
            let token = |name: &str| told[name].as_str().expect("is never null").to_owned();
            let events = told["events"].as_array().expect("a list").iter();
            let times: Vec<_> = events.map(|event| event["timestamp"].as_i64().expect("a time")).collect();
            Ok::<_, String>((times, token("nextForwardToken"), token("nextBackwardToken")))
        };
        let mut one = |more: &str| get(more, "eni-1-all").expect(more);
        assert_eq!(one("").0, [10, 20, 30]);
        let (newest, forward, backward) = one(r#","limit":2"#);
        assert_eq!(newest, [20, 30], "the latest, in the order of their times");
        let with = |token: &str| format!(r#","limit":2,"startFromHead":true,"nextToken":"{token}""#);
        let (older, again, first) = one(&with(&backward));
        assert_eq!(older, [10]);
        assert_eq!(one(&with(&again)).0, [20, 30]);
        let (none, on, back) = one(&with(&first));
        assert_eq!((none, &back), (vec![], &first), "the end has the same token");
        assert_eq!(one(&with(&on)).0, [10, 20]);
        let (none, on, back) = one(&with(&forward));
        assert_eq!((none, &on), (vec![], &forward));
        assert_eq!(one(&with(&back)).0, [20, 30]);
        assert_eq!(one(r#","startFromHead":true,"limit":1"#).0, [10]);
        assert_eq!(one(r#","startTime":20,"endTime":30"#).0, [20], "the end is not part of it");
        assert_eq!(
            get(&with(&forward), "eni-2-all").expect_err("another's token"),
            "InvalidParameterException: The specified nextToken is invalid."
        );
        assert_eq!(
            get("", "eni-3-all").expect_err("absent"),
            "ResourceNotFoundException: The specified log stream does not exist."
        );
        for more in [
            r#","limit":0"#,
            r#","limit":10001"#,
            r#","startTime":-1"#,
            r#","startTime":2,"endTime":1"#,
            r#","nextToken":"x""#,
        ] {
            assert!(get(more, "eni-1-all").expect_err(more).starts_with("InvalidParameterException"), "{more}");
        }
        assert!(get("", "a:b").expect_err("no name").starts_with("InvalidParameterException"));
        told.abort();
    }
}
