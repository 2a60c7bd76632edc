//! Bad input from clients: each a clear error that names what is wrong, and nothing is changed by it.

use crate::harness::Host;
use crate::http::{Ask, PATIENCE, answer};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;

/// The number of the newest event: anything that changes something moves it on.
fn head(host: &Host) -> u64 {
    host.events("").head()
}

/// Runs `check`, after which nothing may be different and the daemon must serve on.
fn unharmed(host: &Host, check: impl FnOnce(&Host)) {
    let before = (head(host), host.get("/v1/jobs?limit=1000")["items"].clone());
    check(host);
    let after = (head(host), host.get("/v1/jobs?limit=1000")["items"].clone());
    assert_eq!(before, after);
    assert!(!host.said().contains("panicked"), "{}", host.said());
}

/// The problem that a submission is answered with.
fn refused(host: &Host, body: &Value) -> Value {
    host.post("/v1/jobs", body).problem("invalid-request")
}

#[test]
fn wrong_fields_are_named() {
    let host = Host::start();
    unharmed(&host, |host| {
        let with = |name: &str, value: Value| {
            let mut spec = json!({"command": ["true"]});
            spec[name] = value;
            spec
        };
        for (field, value) in [
            ("command", json!([])),
            ("command", json!([""])),
            ("command", json!("true")),
            ("command", json!(null)),
            ("command", json!([7])),
            ("name", json!("a\nb")),
            ("name", json!("\u{1b}[31mred")),
            ("name", json!("gnp.\u{202e}cod")),
            ("name", json!("x".repeat(10_000))),
            ("name", json!("")),
            ("cwd", json!("relative")),
            ("cwd", json!("/a\u{0}b")),
            ("priority", json!(-1)),
            ("priority", json!(10)),
            ("priority", json!(1.5)),
            ("priority", json!("high")),
            ("timeout", json!(-5)),
            ("timeout", json!("soon")),
            ("timeout", json!(0)),
            ("timeout", json!(1e300)),
            ("grace", json!("-1s")),
            ("stop_signal", json!("NOPE")),
            ("stop_signal", json!("99")),
            ("umask", json!(-1)),
            ("not_before", json!("tomorrow")),
            ("labels", json!({"a=b": "c"})),
            ("labels", json!([1])),
            ("env", json!({"A=B": "c"})),
            ("env", json!({"": "c"})),
            ("retry", json!({"attempts": 0})),
            ("retry", json!({"attempts": -1})),
            ("retry", json!({"attempts": 2, "on": ["bad luck"]})),
            ("log_limit_bytes", json!(-1)),
            ("after_ok", json!([99])),
            ("after_ok", json!(["nobody"])),
            ("after_ok", json!([{}])),
            ("tty", json!("yes")),
        ] {
            let problem = refused(host, &with(field, value.clone()));
            let named = problem["field"].as_str().unwrap_or_default();
            assert!(named.starts_with(field), "{field}: {value}: {problem:#}");
            let text = problem.to_string();
            assert!(
                !text.contains("\\u001b") && !text.contains('\u{202e}'),
                "{text}"
            );
        }
        let problem = refused(host, &with("comand", json!(1)));
        assert_eq!(
            (
                &problem["field"],
                problem["hint"].as_str().unwrap().contains("command")
            ),
            (&json!("comand"), true)
        );
        let nul = refused(host, &json!({"command": ["a", "b\u{0}c"]}));
        assert_eq!(nul["field"], "command[1]", "{nul:#}");
        let several =
            json!({"jobs": [{"command": ["true"]}, {"command": ["true"], "priority": 77}]});
        assert_eq!(refused(host, &several)["field"], "jobs[1].priority");
        assert_eq!(refused(host, &json!({"jobs": []}))["field"], "jobs");
        host.post(
            "/v1/jobs",
            &json!({"command": ["true"], "group": "nowhere"}),
        )
        .problem("not-found");
    });
}

#[test]
fn requests_that_make_no_sense_are_told_so() {
    let host = Host::start();
    let id = host.sh("exit 0");
    host.ended(id);
    unharmed(&host, |host| {
        let send = |ask: Ask| host.send(&ask);
        send(Ask::get("/")).problem("unknown-route");
        let near = send(Ask::get("/v1/job")).problem("unknown-route");
        assert!(
            near["hint"].as_str().unwrap().contains("/v1/jobs"),
            "{near:#}"
        );
        send(Ask::get("/v1/%00%1b[31m")).problem("unknown-route");
        send(Ask::new("PATCH", "/v1/jobs")).problem("method-not-allowed");
        send(Ask::new("DELETE", "/v1/version")).problem("method-not-allowed");
        for target in [
            "/v1/jobs/0",
            "/v1/jobs/99",
            "/v1/jobs/99/logs",
            "/v1/jobs/99/progress",
        ] {
            send(Ask::get(target)).problem("not-found");
        }
        for target in [
            "/v1/jobs/-1",
            "/v1/jobs/x",
            "/v1/jobs/99999999999999999999",
            "/v1/jobs/1e3",
        ] {
            let answer = send(Ask::get(target));
            assert!(
                [400, 404].contains(&answer.status),
                "{target}: {}",
                answer.text()
            );
            assert!(answer.json()["title"].is_string());
        }
        for query in [
            "limit=0",
            "limit=-1",
            "limit=1001",
            "limit=x",
            "state=nope",
            "since=yesterday",
            "cursor=x",
            "frobnicate=1",
            "limit=1&limit=2",
        ] {
            let problem = send(Ask::get(format!("/v1/jobs?{query}"))).problem("invalid-request");
            assert!(problem["field"].is_string(), "{query}: {problem:#}");
        }
        for text in [
            "",
            "{",
            "[]",
            "null",
            "{\"command\": [\"a\"",
            "{}x",
            "\u{feff}{}",
            "nonsense",
        ] {
            let ask = Ask::new("POST", "/v1/jobs").bytes("application/json", text);
            let problem = send(ask).problem("invalid-request");
            assert!(problem["detail"].is_string(), "{text}: {problem:#}");
        }
        let deep = "[".repeat(100_000);
        send(Ask::new("POST", "/v1/jobs").bytes("application/json", deep))
            .problem("invalid-request");
        let bytes = b"{\"command\": [\"\xff\xfe\"]}".to_vec();
        send(Ask::new("POST", "/v1/jobs").bytes("application/json", bytes))
            .problem("invalid-request");
        let ask = Ask::new("POST", "/v1/jobs").bytes("text/xml", "<job/>");
        let problem = send(ask).problem("invalid-request");
        assert!(
            problem["hint"]
                .as_str()
                .unwrap()
                .contains("application/json"),
            "{problem:#}"
        );
        let long_key = Ask::post("/v1/jobs", &json!({"command": ["true"]}));
        send(long_key.header("Idempotency-Key", "k".repeat(300))).problem("invalid-request");
        for verb in [
            "pause", "resume", "hold", "release", "approve", "reject", "cancel",
        ] {
            host.post(&format!("/v1/jobs/{id}/{verb}"), &json!({}))
                .problem("wrong-state");
        }
        host.post(&format!("/v1/jobs/{id}/explode"), &json!({}))
            .problem("unknown-route");
        host.post(&format!("/v1/jobs/{id}/cancel"), &json!({"gracee": 1}))
            .problem("invalid-request");
        host.post(&format!("/v1/jobs/{id}/signal"), &json!({"signal": -1}))
            .problem("invalid-request");
    });
}

#[test]
fn a_body_beyond_the_limit_is_refused_before_it_is_read() {
    let host = Host::start();
    unharmed(&host, |host| {
        let body = vec![b' '; 40 << 20];
        let ask = Ask::new("POST", "/v1/jobs").bytes("application/json", body);
        ask.send(&host.socket()).unwrap().problem("too-large");
    });
}

#[test]
fn half_requests_hold_nobody_up() {
    let host = Host::start();
    unharmed(&host, |host| {
        let halves: [&[u8]; 6] = [
            b"",
            b"GET",
            b"GET /v1/jobs HTTP/1.1\r\nHost:",
            b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"command\": [\"tr",
            b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{",
            b"GET /v1/events HTTP/1.1\r\nHost: x\r\n",
        ];
        let mut open: Vec<UnixStream> = Vec::new();
        for half in halves.iter().cycle().take(60) {
            let mut stream = UnixStream::connect(host.socket()).unwrap();
            stream.write_all(half).unwrap();
            open.push(stream);
        }
        // All of them are open while others are served.
        assert_eq!(host.get("/v1/version")["mode"], "user");
        host.stoke_ok(&["ls"]);
        // A head that is begun must be finished in time.
        let mut stream = open.swap_remove(2);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        // Cut off, with or without a word.
        let _end = stream.read_to_end(&mut rest);
        drop(open);
    });
}

#[test]
fn garbage_is_no_http() {
    let host = Host::start();
    unharmed(&host, |host| {
        let long_head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
        let garbage: [&[u8]; 5] = [
            b"\0\0\0\0\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"GET /v1/jobs HTTP/9.9\r\n\r\n",
            b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            long_head.as_bytes(),
        ];
        for bytes in garbage {
            let mut stream = UnixStream::connect(host.socket()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let _sent = stream.write_all(bytes);
            if let Ok((status, _)) = answer(stream) {
                assert!(
                    (400..600).contains(&status),
                    "{status}: {:?}",
                    String::from_utf8_lossy(bytes)
                );
            }
        }
        host.get("/v1/version");
    });
}

#[test]
fn arguments_and_names_that_are_not_text_are_refused_by_the_client() {
    let host = Host::start();
    let mut command = host.command(env!("CARGO_BIN_EXE_stoke"));
    command.args(["run", "-d", "--", "echo"]);
    command.arg(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let output = host.finish(command.spawn().unwrap());
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("UTF-8"),
        "{output:?}"
    );
    for args in [
        &["run"][..],
        &["run", "-d", "--name", "a\nb", "--", "true"],
        &["run", "-d", "-p", "12", "--", "true"],
        &["run", "-d", "--timeout", "soon", "--", "true"],
        &["signal", "NOPE", "1"],
        &["frobnicate"],
    ] {
        let output = host.stoke(args);
        assert!(
            matches!(output.status.code(), Some(2 | 4)),
            "{args:?}: {output:?}"
        );
        assert!(!output.stderr.is_empty());
    }
    assert_eq!(host.stoke(&["show", "77"]).status.code(), Some(4));
    assert_eq!(host.get("/v1/jobs")["items"], json!([]));
}
