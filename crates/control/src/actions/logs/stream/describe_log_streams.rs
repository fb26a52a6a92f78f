//! live: DescribeLogStreams asks the hosts of the region, which have what there is of streams.

use std::cmp::Reverse;

use awan_model::log_group::{LogGroup, StreamSeen, Streams};
use awan_wire::logs;

use crate::dispatch::Live;
use crate::error::Result;
use crate::live;
use crate::logs::{arn, invalid, is_stream_name, limit, open, opened};

pub async fn describe_log_streams(
    cx: Live,
    req: logs::DescribeLogStreamsRequest,
) -> Result<logs::DescribeLogStreamsResponse> {
    let logs::DescribeLogStreamsRequest {
        log_group_name,
        log_group_identifier,
        log_stream_name_prefix: prefix,
        order_by,
        descending,
        next_token,
        limit: asked,
    } = req;
    let by_time = match order_by.as_deref() {
        None | Some("LogStreamName") => false,
        Some("LastEventTime") => true,
        Some(_) => return Err(invalid("orderBy is LogStreamName or LastEventTime.")),
    };
    if by_time && prefix.is_some() {
        return Err(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    if prefix.as_deref().is_some_and(|prefix| !is_stream_name(prefix)) {
        return Err(invalid("The logStreamNamePrefix is no beginning of a log stream's name."));
    }
    let (limit, descending) = (limit(asked, 50)?, descending == Some(true));
    let action = format!("DescribeLogStreams {by_time} {descending}");
    let named = (log_group_name.as_deref(), log_group_identifier.as_deref());
    let (group, seal) = cx.control.db.read(cx.tenant.clone(), |tx| open(tx, &action, named))?;
    let after = opened(&seal, next_token.as_deref())?;
    let mut seen = live::streams(&cx, &group, prefix.map_or(Streams::All, Streams::Prefix)).await?;
    let place =
        |seen: &StreamSeen| if by_time { format!("{:013} {}", seen.last, seen.name) } else { seen.name.clone() };
    if descending {
        seen.sort_by_key(|seen| Reverse(place(seen)));
    } else {
        seen.sort_by_key(place);
    }
    if let Some(after) = after {
        seen.retain(|seen| if descending { place(seen) < after } else { place(seen) > after });
    }
    let more = seen.len() > limit;
    seen.truncate(limit);
    let next_token = seen.last().filter(|_| more).map(|last| seal.close(&place(last)));
    let log_streams = seen.iter().map(|seen| shown(&group, seen)).collect();
    Ok(logs::DescribeLogStreamsResponse { log_streams, next_token })
}

fn shown(group: &LogGroup, seen: &StreamSeen) -> logs::LogStream {
    let StreamSeen { name, created, first, last, ingested } = seen;
    let time = |at: &u64| i64::try_from(*at).ok();
    logs::LogStream {
        log_stream_name: Some(name.clone()),
        creation_time: time(created),
        first_event_timestamp: time(first),
        last_event_timestamp: time(last),
        last_ingestion_time: time(ingested),
        arn: Some(format!("{}:log-stream:{name}", arn(&group.home, &group.name))),
        // EC2 has said so of all streams since 2019.
        stored_bytes: Some(0),
        upload_sequence_token: None,
    }
}

#[cfg(test)]
mod tests {
    use awan_model::log_group::StreamSeen;
    use awan_model::report::{Answer, Ask};

    use crate::testing::Cloud;

    #[test]
    fn streams_are_listed_by_name_or_by_their_last_event() {
        let mut cloud = Cloud::new();
        let told = cloud.answering(|ask| match ask {
            Ask::LogStreams { streams, .. } => {
                let seen = |(name, last): (&str, u64)| StreamSeen {
                    name: name.to_owned(),
                    created: 1,
                    first: 1,
                    last,
                    ingested: last + 1,
                };
                let all = [("eni-1-all", 30), ("eni-2-all", 10), ("fl-3-all", 20)];
                Answer::LogStreams(all.into_iter().filter(|(name, _)| streams.has(name)).map(seen).collect())
            }
            _ => Answer::Done,
        });
        cloud.tenant("acme").logs("CreateLogGroup", r#"{"logGroupName":"a"}"#).expect("makes");
        let mut call =
            |more: &str| cloud.tenant("acme").logs("DescribeLogStreams", &format!(r#"{{"logGroupName":"a"{more}}}"#));
        let names = |told: &str| {
            let names = told.split("\"logStreamName\":\"").skip(1).filter_map(|rest| rest.split('"').next());
            names.map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        for (ask, expected) in [
            ("", "eni-1-all eni-2-all fl-3-all"),
            (r#","logStreamNamePrefix":"eni""#, "eni-1-all eni-2-all"),
            (r#","descending":true"#, "fl-3-all eni-2-all eni-1-all"),
            (r#","orderBy":"LastEventTime""#, "eni-2-all fl-3-all eni-1-all"),
            (r#","orderBy":"LastEventTime","descending":true,"limit":2"#, "eni-1-all fl-3-all"),
        ] {
            assert_eq!(names(&call(ask).expect("answers")), expected, "{ask}");
        }
        let by_time = r#","orderBy":"LastEventTime","descending":true,"limit":2"#;
        let first = call(by_time).expect("answers");
        let token = first.split("\"nextToken\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a token");
        let next = format!(r#"{by_time},"nextToken":"{token}""#);
        assert_eq!(names(&call(&next).expect("answers")), "eni-2-all");
        for ask in [
            format!(r#","nextToken":"{token}""#),
            r#","orderBy":"LastEventTime","logStreamNamePrefix":"a""#.into(),
            r#","orderBy":"X""#.into(),
            r#","limit":51"#.into(),
            r#","logGroupIdentifier":"a""#.into(),
        ] {
            let refusal = call(&ask).expect_err(&ask);
            assert!(refusal.starts_with("InvalidParameterException"), "{ask}: {refusal}");
        }
        told.abort();
    }
}
