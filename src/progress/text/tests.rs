//! Recordings of real programs, and what holds for any output however it is cut into chunks.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::progress::{Progress, Source};
use crate::model::time::Stamp;

/// All that a feed sees in a stream that arrives in these chunks.
fn readings<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Observation> {
    hinted(&Hints::default(), chunks)
}

/// The same for a job of which this is known.
fn hinted<'a>(hints: &Hints, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Observation> {
    let mut feed = TextFeed::new(&Catalogue::shipped(), hints);
    let mut out = Vec::new();
    for chunk in chunks {
        feed.push(chunk, &mut out);
    }
    out
}

/// The last word of each source.
fn last_words(seen: Vec<Observation>) -> Vec<Observation> {
    let mut last: Vec<Observation> = Vec::new();
    for observation in seen {
        match last.iter_mut().find(|it| it.source == observation.source) {
            Some(before) => before.absorb(observation),
            None => last.push(observation),
        }
    }
    last.sort_by(|a, b| a.source.cmp(&b.source));
    last
}

/// Every recording, with the program it is of: the name of its directory.
fn recordings() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/output");
    let entries = |path: &Path| {
        let entries = std::fs::read_dir(path).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let mut found = Vec::new();
    for program in entries(&root).into_iter().filter(|path| path.is_dir()) {
        let name = program.file_name().unwrap().to_str().unwrap().to_owned();
        for path in entries(&program) {
            if path
                .extension()
                .is_some_and(|it| it == "pipe" || it == "pty")
            {
                found.push((name.clone(), path));
            }
        }
    }
    assert!(found.len() > 20);
    found
}

/// Drawn bar by drawn bar, as a program writes them.
fn drawn(bytes: &[u8]) -> Vec<&[u8]> {
    bytes
        .split_inclusive(|&b| b == b'\r' || b == b'\n')
        .collect()
}

/// What a recording comes to.
struct Summary {
    /// The course of its percent, or of its steps, by phase.
    course: Vec<Value>,
    /// Its last observation.
    last: Value,
    /// All observations.
    readings: Vec<Value>,
    /// What the progress is after all of them.
    progress: Value,
}

impl Summary {
    fn of(seen: &[Observation]) -> Self {
        let mut progress = Progress::default();
        let mut course: Vec<Value> = Vec::new();
        for (at, observation) in (0..).zip(seen) {
            let at = Stamp {
                wall_ms: at,
                boot_ms: u64::try_from(at).unwrap(),
            };
            progress.observe(observation.clone(), at);
            let percent = progress.percent.map(f64::round);
            let point = json!([progress.phase_number, percent.or(progress.step)]);
            if course.last() != Some(&point) {
                course.push(point);
            }
        }
        Self {
            course,
            last: json!(seen.last()),
            readings: seen.iter().map(|it| json!(it)).collect(),
            progress: json!(progress),
        }
    }

    /// What of the expectations does not hold.
    fn faults(&self, expected: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        for (key, expected) in expected.as_object().unwrap() {
            let fits = match key.as_str() {
                "course" => *expected == json!(self.course),
                "last" => *expected == self.last,
                "final" => contains(&self.progress, expected),
                "readings" => {
                    let mut left = self.readings.iter();
                    let mut expected = expected.as_array().unwrap().iter();
                    expected.all(|it| left.any(|seen| contains(seen, it)))
                }
                // Such as a note for whoever reads it, or hints.
                "about" | "command" | "kind" => true,
                _ => false,
            };
            if !fits {
                faults.push(format!("`{key}` is not {expected}"));
            }
        }
        faults
    }
}

/// Whether `seen` has all that `expected` says. Numbers may differ in the last digits, and `null` is what is absent.
fn contains(seen: &Value, expected: &Value) -> bool {
    match (seen, expected) {
        (Value::Object(seen), Value::Object(expected)) => expected.iter().all(|(key, value)| {
            let found = seen.get(key).unwrap_or(&Value::Null);
            contains(found, value)
        }),
        (Value::Number(seen), Value::Number(expected)) => {
            let (seen, expected) = (seen.as_f64().unwrap(), expected.as_f64().unwrap());
            (seen - expected).abs() <= 1e-6 * expected.abs().max(1.0)
        }
        _ => seen == expected,
    }
}

/// What the job of a recording is taken for: its expectations may name its command and kind.
fn hints(program: &str, expected: &Value) -> Hints {
    let command = match expected["command"].as_str() {
        Some(command) => command.split_whitespace().map(str::to_owned).collect(),
        None => vec![program.to_owned()],
    };
    Hints::new(expected["kind"].as_str(), &command)
}

/// The expectations beside a recording.
fn expectations(path: &Path) -> Value {
    let path = PathBuf::from(format!("{}.json", path.display()));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn recordings_read_as_expected() {
    let mut wrong = Vec::new();
    for (program, path) in recordings() {
        let expected = expectations(&path);
        let bytes = std::fs::read(&path).unwrap();
        let summary = Summary::of(&hinted(&hints(&program, &expected), drawn(&bytes)));
        let faults = summary.faults(&expected);
        if !faults.is_empty() {
            wrong.push(format!(
                "{}: {}\n  course {}\n  last {}\n  progress {}",
                path.display(),
                faults.join("\n  "),
                json!(summary.course),
                summary.last,
                summary.progress
            ));
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
}

#[test]
fn chunks_do_not_change_what_a_recording_says() {
    for (program, path) in recordings() {
        let hints = hints(&program, &expectations(&path));
        let bytes = std::fs::read(&path).unwrap();
        let whole = last_words(hinted(&hints, [bytes.as_slice()]));
        for size in [1, 2, 3, 7, 64, 1000] {
            let cut = last_words(hinted(&hints, bytes.chunks(size)));
            assert_eq!(cut, whole, "{} by {size}", path.display());
        }
    }
}

#[test]
fn a_bar_is_read_before_its_line_ends() {
    let bar = " 45%|████▌     | 450/1000 [00:12<00:15, 35.9it/s]";
    let seen = readings([bar.as_bytes()]);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].step, Some(450.0));
    assert!(readings([&bar.as_bytes()[..bar.len() - 1]]).is_empty());
}

#[test]
fn a_flood_is_one_observation() {
    let flood: String = (0..=5000).map(|n| format!("[{n}/5000]\n")).collect();
    let seen = readings([flood.as_bytes()]);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].step, Some(5000.0));
}

#[test]
fn a_flood_in_one_chunk_comes_to_what_its_lines_come_to() {
    for flood in [
        "[1/9]\n[2/9]\n[3/2]\n",
        "a 3/10\na 4/10\na 5/10\na 2/10\n",
        "::progress 4/9\n::progress 5/9\n::progress 9/5\n",
    ] {
        let whole = last_words(readings([flood.as_bytes()]));
        let lines = last_words(readings(drawn(flood.as_bytes())));
        assert_eq!(whole, lines, "{flood:?}");
    }
}

#[test]
fn the_first_that_knows_a_line_reads_it() {
    let seen =
        readings([b"Epoch 1/3:  40%|####      | 4/10 [00:00<00:00, 32.71it/s]\n".as_slice()]);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].source, Source::Adapter("tqdm".to_owned()));
}

/// The one observation that a text comes to.
fn the_reading(text: &str) -> Observation {
    let seen = readings([text.as_bytes()]);
    assert_eq!(seen.len(), 1, "{text:?}: {seen:?}");
    seen.into_iter().next().unwrap()
}

#[test]
fn marks_say_it_on_purpose() {
    let seen = the_reading("::progress 45% half of it\n");
    assert_eq!(seen.percent, Some(45.0));
    assert_eq!(seen.message.as_deref(), Some("half of it"));
    let seen = the_reading("  ::progress 12/340 words for people\n");
    assert_eq!((seen.step, seen.total_steps), (Some(12.0), Some(340.0)));
    assert_eq!(seen.message.as_deref(), Some("words for people"));
    let text = "::progress step=12 total=340 epoch=2/3 phase=\"warm up\" loss=0.3 eta=1m02s \"two words\"\n";
    let seen = the_reading(text);
    assert_eq!((seen.step, seen.total_steps), (Some(12.0), Some(340.0)));
    assert_eq!((seen.epoch, seen.total_epochs), (Some(2.0), Some(3.0)));
    assert_eq!(seen.phase.as_deref(), Some("warm up"));
    assert_eq!(seen.message.as_deref(), Some("two words"));
    assert_eq!((seen.eta_seconds, seen.metrics["loss"]), (Some(62.0), 0.3));
    assert_eq!(seen.metrics.len(), 1);
    assert_eq!(the_reading("::progress done\n").percent, Some(100.0));
    for text in [
        "::progress\n",
        "::progress 450%\n",
        "::progress 13/12\n",
        "::progress soon\n",
        "::progressing 45 percent\n",
    ] {
        assert!(readings([text.as_bytes()]).is_empty(), "{text:?}");
    }
}

#[test]
fn what_is_said_to_the_terminal_is_overheard() {
    let seen = the_reading("text \x1b]9;4;1;45\x1b\\ without an end");
    assert_eq!(seen.percent, Some(45.0));
    let seen = the_reading("\x1b]9;4;2;45\x07");
    assert_eq!(
        (seen.percent, seen.status.as_deref()),
        (Some(45.0), Some("error"))
    );
    assert_eq!(the_reading("\x1b]9;4;3\x07").percent, None);
    assert_eq!(
        the_reading("\x1b]9;4;4\x07").status.as_deref(),
        Some("paused")
    );
    for text in [
        "\x1b]9;4;0;\x07",
        "\x1b]9;4;1;450\x07",
        "9;4;1;45\n",
        "\x1b]0;45%\x07",
        "\x1b]0;[1/2]\x07",
    ] {
        assert!(readings([text.as_bytes()]).is_empty(), "{text:?}");
    }
}

#[test]
fn objects_about_progress_are_read_and_logs_are_not() {
    let seen = the_reading("{\"current_step\": 12, \"total_steps\": 340, \"loss\": 0.5}\n");
    assert_eq!(seen.source, Source::Adapter("json".to_owned()));
    assert_eq!((seen.step, seen.metrics["loss"]), (Some(12.0), 0.5));
    let log = "{\"level\":\"info\",\"status\":200,\"duration_ms\":5,\"path\":\"/a/b\"}\n";
    assert!(readings([log.as_bytes()]).is_empty());
}

/// Bytes that are the same in every run.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(count).collect()
}

/// The same as `hexdump -C` shows them.
fn shown(bytes: &[u8]) -> String {
    let line = |(at, bytes): (usize, &[u8])| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x} ")).collect();
        let text = bytes.iter().map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        });
        let text: String = text.collect();
        format!("{:08x}  {hex} |{text}|\n", at * bytes.len())
    };
    (0..).zip(bytes.chunks(16)).map(line).collect()
}

#[test]
fn bytes_that_are_no_text_say_nothing() {
    let bytes = noise(1 << 20);
    for size in [4 << 10, 64 << 10] {
        assert_eq!(readings(bytes.chunks(size)), []);
    }
    // As in other sorts of noise, most is text here: seven bits of each byte, and few that steer.
    let letters: Vec<u8> = bytes.iter().map(|byte| byte & 0x7f).collect();
    assert_eq!(readings(letters.chunks(64 << 10)), []);
    let shown = shown(&bytes[..256 << 10]);
    assert_eq!(readings([shown.as_bytes()]), []);
}

#[test]
fn a_count_next_to_binary_output_is_none_and_one_far_from_it_is() {
    let far = [b"\0\n".as_slice(), &b"plain text\n".repeat(400), b"[1/2]\n"].concat();
    for (text, count) in [
        (b"\0\n[1/2]\n".as_slice(), 0),
        (b"a\x01b [1/2]\n", 0),
        (b"\xff [1/2]\n", 0),
        (b"\x1b(B\x1b[m\x0f\x07[1/2]\n", 1),
        (&far, 1),
    ] {
        for size in [1, 7, 64 << 10] {
            let seen = last_words(readings(text.chunks(size)));
            assert_eq!(seen.len(), count, "{text:?} by {size}");
        }
    }
}

/// Pieces that come near to what is recognised.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let bar = (0..12_u32, "[a-c]{0,2}").prop_map(|(n, words)| {
        format!(
            "{words}: {n}%|##| {n}/11 [00:0{}<00:15, 35.9it/s, loss=0.{n}]",
            n % 10
        )
    });
    let known = prop::sample::select(vec![
        "\r",
        "\n",
        "\x1b[A",
        "\x1b[",
        "\x1b]0;",
        "\x07",
        "\x1b\\",
        "\x08",
        "█",
        "[",
        "]",
        "[1/2]",
        "45%",
        "46%",
        "Epoch 2/3",
        "step 5 of 9",
        "{'loss': 0.2, 'epoch': 0.5}",
        "12/340",
        " ",
        "progress: ",
        "450it [00:12, 35.9it/s]",
        "\x1b]9;4;1;45\x1b\\",
        "::progress 12/340 words\n",
        "::progress step=1 total=9 a1=0.5\n",
        "{\"step\": 3, \"loss\": 0.5}\n",
        "Receiving objects:  45% (450/1000)",
    ]);
    prop_oneof![
        bar.prop_map(String::into_bytes),
        known.prop_map(|it| it.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..8),
        "[0-9/%\\[\\]:<,. a-z]{0,12}".prop_map(String::into_bytes),
    ]
}

fn soup() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(piece(), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn nothing_that_is_printed_does_harm(bytes in soup(), cuts in prop::collection::vec(1..40_usize, 0..40)) {
        let mut rest = bytes.as_slice();
        let mut chunks = Vec::new();
        for cut in cuts {
            let (chunk, more) = rest.split_at(cut.min(rest.len()));
            chunks.push(chunk);
            rest = more;
        }
        chunks.push(rest);
        let mut progress = Progress::default();
        let mut before = (0, None);
        for (boot_ms, seen) in (0..).zip(readings(chunks.iter().copied())) {
            progress.observe(seen, Stamp { wall_ms: 0, boot_ms });
            let now = (progress.phase_number, progress.percent);
            prop_assert!(now.1.is_none_or(|percent| (0.0..=100.0).contains(&percent)));
            if let (true, Some(old), Some(new)) = (now.0 == before.0, before.1, now.1) {
                prop_assert!(new >= old);
            }
            before = now;
        }
    }

    #[test]
    fn chunks_do_not_change_the_readings(mut bytes in soup(), size in 1..30_usize) {
        // Once all lines have ended, nothing may remain of how they came.
        bytes.extend(b"\x1b\\\n");
        let cut = last_words(readings(bytes.chunks(size)));
        let whole = last_words(readings([bytes.as_slice()]));
        prop_assert_eq!(cut, whole);
    }
}
