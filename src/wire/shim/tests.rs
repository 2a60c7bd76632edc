//! Frames: what both sides write, and what an older or newer side may send.

use super::*;

#[test]
fn unknown_types_and_fields_are_skipped() {
    let frame: ToShim = decode(br#"{"type":"dance","tempo":{"bpm":[1,2]}}"#).unwrap();
    assert_eq!(frame, ToShim::Unknown);
    let frame: FromShim = decode(br#"{"type":"frozen","how":"solid"}"#).unwrap();
    assert_eq!(frame, FromShim::Frozen {});
    let frame: ToShim = decode(br#"{"type":"ack_exit","because":1}"#).unwrap();
    assert_eq!(frame, ToShim::AckExit);
}

#[test]
fn a_minimal_launch_decodes_with_defaults() {
    let line = br#"{"type":"launch","version":1,"job":1,"attempt":1,"dir":"/a","log_dir":"/l",
        "log_limit_bytes":1,"command":["true"],"env":[],"cwd":"/"}"#;
    let ToShim::Launch(record) = decode(line).unwrap() else {
        panic!("not a launch");
    };
    assert_eq!(record.stdin, Stdin::None);
    assert_eq!(record.containment, ContainmentSpec::Tree);
    assert!(!record.notify);
}

#[test]
fn bytes_survive_in_and_out_of_utf8() {
    for raw in [&b"plain"[..], b"", b"\xff\x00\xfe", "žluťoučký".as_bytes()] {
        let json = serde_json::to_string(&Bytes(raw.to_vec())).unwrap();
        let back: Bytes = serde_json::from_str(&json).unwrap();
        assert_eq!(back.0, raw, "{json}");
    }
}

#[test]
fn lines_come_out_whole_however_they_came_in() {
    let mut lines = Lines::new(8);
    lines.push(b"on").unwrap();
    assert_eq!(lines.next_line(), None);
    lines.push(b"e\ntwo\nthr").unwrap();
    assert_eq!(lines.next_line().unwrap(), b"one");
    assert_eq!(lines.next_line().unwrap(), b"two");
    assert_eq!(lines.next_line(), None);
    assert!(lines.push(b"eeeeee").is_err());
}

#[test]
fn a_long_line_is_refused_wherever_it_is_cut() {
    for (pieces, came_out) in [
        (&["1\nmuch too long"][..], 1),
        (&["1\n2", "\n", "much", " too ", "long\n"], 2),
        (&["1\nmuch too long\n3\n"], 1),
    ] {
        let mut lines = Lines::new(8);
        let refused = pieces.iter().find(|it| lines.push(it.as_bytes()).is_err());
        assert!(refused.is_some(), "{pieces:?}");
        let out: Vec<_> = std::iter::from_fn(|| lines.next_line()).collect();
        assert!(out.len() >= came_out && out[0] == b"1", "{pieces:?}");
    }
}

#[test]
fn a_later_kind_of_spawn_error_is_understood_as_unknown() {
    let error: SpawnError =
        decode(br#"{"error":"moon_phase","step":"exec","message":"wait"}"#).unwrap();
    assert_eq!(error.error, SpawnErrorKind::Unknown);
}
