//! Requests to CloudWatch Logs.

use super::{Recipe, Teller};

const GROUP: (&str, &str) = ("logGroupName", "/fuzz/a|/fuzz/b|c|aws/x");
const ARN: (&str, &str) =
    ("resourceArn", "arn:aws:logs:us-east-1:123456789012:log-group:c|arn:aws:logs:us-east-1:1:log-group:c:*|c");
const STREAM: &str = "eni-00000000000000001-all|a:b|x";
const TIME: &str = "0|1|-1|1795464037000";
const LIMIT: (&str, &str) = ("limit", "1|50|10000|0");

pub const RECIPES: &[Recipe] = &[
    (
        "logs:CreateLogGroup",
        &[GROUP],
        &[("tags", r#"{"a":"b"}|{"aws:a":"b"}|[]"#), ("logGroupClass", "STANDARD|DELIVERY|x"), ("kmsKeyId", "a")],
    ),
    ("logs:DeleteLogGroup", &[GROUP], &[]),
    ("logs:DeleteRetentionPolicy", &[GROUP], &[]),
    (
        "logs:DescribeLogGroups",
        &[],
        &[
            ("logGroupNamePrefix", "/fuzz|x"),
            ("logGroupNamePattern", "a|x"),
            ("logGroupIdentifiers", r#"["c"]|[1]"#),
            LIMIT,
        ],
    ),
    (
        "logs:DescribeLogStreams",
        &[GROUP],
        &[
            ("logStreamNamePrefix", "eni|a*"),
            ("orderBy", "LogStreamName|LastEventTime|x"),
            ("descending", "true|false"),
            LIMIT,
        ],
    ),
    (
        "logs:FilterLogEvents",
        &[GROUP],
        &[
            ("filterPattern", r#"REJECT|"10.0.0.5" -OK|?a ?b|[a, b]|{ $.a = 1 }|%a%|é"#),
            ("logStreamNames", r#"["eni-00000000000000001-all"]|["a:b"]"#),
            ("logStreamNamePrefix", "eni"),
            ("startTime", TIME),
            ("endTime", TIME),
            ("startFromHead", "true|false"),
            ("nextToken", "x"),
            LIMIT,
        ],
    ),
    (
        "logs:GetLogEvents",
        &[GROUP, ("logStreamName", STREAM)],
        &[("startTime", TIME), ("endTime", TIME), ("startFromHead", "true|false"), ("nextToken", "x"), LIMIT],
    ),
    ("logs:ListTagsForResource", &[ARN], &[]),
    ("logs:PutRetentionPolicy", &[GROUP, ("retentionInDays", "1|7|2|70000")], &[]),
    ("logs:TagResource", &[ARN, ("tags", r#"{"a":"b"}|{"":""}"#)], &[]),
    ("logs:UntagResource", &[ARN, ("tagKeys", r#"["a"]"#)], &[]),
];

pub fn story(teller: &mut dyn Teller) {
    let group = r#"{"logGroupName":"story"}"#;
    teller.ask("logs:CreateLogGroup", group);
    let told = teller.ask("logs:DescribeLogGroups", r#"{"logGroupNamePrefix":"story"}"#);
    let arn = told.split("\"logGroupArn\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    let about = format!(r#""resourceArn":"{arn}""#);
    teller.ask("logs:TagResource", &format!(r#"{{{about},"tags":{{"a":"b"}}}}"#));
    teller.ask("logs:ListTagsForResource", &format!("{{{about}}}"));
    teller.ask("logs:UntagResource", &format!(r#"{{{about},"tagKeys":["a"]}}"#));
    teller.ask("logs:PutRetentionPolicy", r#"{"logGroupName":"story","retentionInDays":7}"#);
    teller.ask("logs:DeleteRetentionPolicy", group);
    teller.ask("logs:DescribeLogStreams", group);
    teller.ask("logs:FilterLogEvents", group);
    teller.ask("logs:GetLogEvents", r#"{"logGroupName":"story","logStreamName":"eni-1-all"}"#);
    teller.ask("logs:DeleteLogGroup", group);
}
