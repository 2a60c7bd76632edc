//! Dictionaries that trainers log, and others.

use super::*;

fn read(text: &str) -> Option<Observation> {
    Dict.read(Line {
        text,
        end: End::Newline,
    })
}

#[test]
fn trainer_logs_are_read() {
    let seen =
        read("{'loss': 0.2, 'grad_norm': 1.5, 'learning_rate': 5e-05, 'epoch': 0.5}").unwrap();
    assert_eq!(seen.epoch, Some(0.5));
    assert_eq!(seen.metrics["loss"], 0.2);
    assert_eq!(seen.metrics["learning_rate"], 5e-5);
    let quoted = read("{'loss': '0.2', 'epoch': '1'}  ").unwrap();
    assert_eq!((quoted.epoch, quoted.metrics["loss"]), (Some(1.0), 0.2));
    let json = read(r#"{"eval_loss": -1, "name": "x", "epoch": 2.0}"#).unwrap();
    assert_eq!((json.epoch, json.metrics.len()), (Some(2.0), 1));
}

#[test]
fn other_dictionaries_are_not() {
    for line in [
        "{}",
        "{'a': 1}",
        "{'loss': 0.2}",
        "{'epoch': nan}",
        "{'epoch': -1}",
        "{'epoch': 1",
        "x {'epoch': 1}",
        "{'epoch'}",
        "{epoch: 1}",
        "{'epoch': {'epoch': 1}}",
    ] {
        assert_eq!(read(line), None, "{line}");
    }
}
