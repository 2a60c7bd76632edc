//! How output is cut, as tables.

use super::*;

/// Sees every line.
impl<F: FnMut(&[u8], End)> Reader for F {
    fn quiet(&mut self, _: &[u8]) -> usize {
        0
    }

    fn see(&mut self, line: &[u8], end: End, _: bool) {
        self(line, end);
    }
}

fn cut<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<(String, End)> {
    let mut lines = Lines::default();
    let mut seen = Vec::new();
    for chunk in chunks {
        lines.feed(chunk, &mut |line: &[u8], end| {
            seen.push((String::from_utf8_lossy(line).into_owned(), end));
        });
    }
    let (open, _) = lines.open();
    if !open.is_empty() {
        seen.push((String::from_utf8_lossy(open).into_owned(), End::Open));
    }
    seen
}

#[test]
fn lines_end_where_a_terminal_leaves_them() {
    type Row<'a> = (&'a [u8], &'a [(&'a str, End)]);
    let table: &[Row<'_>] = &[
        (b"a\nb", &[("a", End::Newline), ("b", End::Open)]),
        (b"a\r\nb\r", &[("a", End::Return), ("b", End::Return)]),
        (b"a\x08\x08b\n", &[("a", End::Return), ("b", End::Newline)]),
        (b"bar\x1b[A\n", &[("bar", End::Up)]),
        (b"a\x1b[2;3Hb\n", &[("a", End::Moved), ("b", End::Newline)]),
        (b"\x1b7a\x1b8b\n", &[("a", End::Moved), ("b", End::Newline)]),
        (
            b"\x1b[1;32mgreen\x1b[0m\x1b[K!\n",
            &[("green!", End::Newline)],
        ),
        (
            b"\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b\n",
            &[
                ("0;title", End::Terminal),
                ("8;;http://x", End::Terminal),
                ("ab", End::Newline),
            ],
        ),
        (b"\x1b(Ba\x1b=b\n", &[("ab", End::Newline)]),
        (b"\x1b]never ended\nb\n", &[("b", End::Newline)]),
        (b"\x1b[12\nb\n", &[("b", End::Newline)]),
        (b"a\x00\x07b\tc\n", &[("ab\tc", End::Newline)]),
        ("é█\n".as_bytes(), &[("é█", End::Newline)]),
        (b"\xff\xfe\n", &[("\u{fffd}\u{fffd}", End::Newline)]),
        (b"\n\n\r\r", &[]),
    ];
    for (bytes, expected) in table {
        let expected: Vec<_> = expected
            .iter()
            .map(|(text, end)| ((*text).to_owned(), *end))
            .collect();
        assert_eq!(cut([*bytes]), expected, "{bytes:?}");
        assert_eq!(cut(bytes.chunks(1)), expected, "{bytes:?} byte by byte");
    }
}

#[test]
fn a_long_line_is_cut_and_memory_stays_bounded() {
    let mut lines = Lines::default();
    for _ in 0..100 {
        lines.feed(&[b'x'; 10_000], &mut |_: &[u8], _| {
            unreachable!("no line ended")
        });
        assert!(lines.open.capacity() <= 4 * MAX_LINE_BYTES);
    }
    let mut lengths = Vec::new();
    lines.feed(b"yy\nzz\n", &mut |line: &[u8], _| lengths.push(line.len()));
    assert_eq!(lengths, [MAX_LINE_BYTES, 2]);
    let long = [vec![b'x'; 10_000], b"\n".to_vec()].concat();
    assert_eq!(cut([long.as_slice()])[0].0.len(), MAX_LINE_BYTES);
}

#[test]
fn strings_for_the_terminal_are_lines_of_their_own() {
    let long = [b"\x1b]0;".as_slice(), &[b'x'; 300], b"\x07a\n"].concat();
    type Row<'a> = (&'a [u8], &'a [(&'a str, End)]);
    let table: &[Row<'_>] = &[
        (
            b"ab\x1b]9;4;1;45\x07c\n",
            &[("9;4;1;45", End::Terminal), ("abc", End::Newline)],
        ),
        (
            b"\x1b]9;4;0;\x1b\\\x1b]9;4;3\x1b\\",
            &[("9;4;0;", End::Terminal), ("9;4;3", End::Terminal)],
        ),
        (b"\x1bP1;2|9;4;1;45\x1b\\a\n", &[("a", End::Newline)]),
        (b"\x1b]9;4;1;45\na\n", &[("a", End::Newline)]),
        (&long, &[("a", End::Newline)]),
    ];
    for (bytes, expected) in table {
        let expected: Vec<_> = expected
            .iter()
            .map(|(text, end)| ((*text).to_owned(), *end))
            .collect();
        assert_eq!(cut([*bytes]), expected, "{bytes:?}");
        assert_eq!(cut(bytes.chunks(1)), expected, "{bytes:?} byte by byte");
    }
}
