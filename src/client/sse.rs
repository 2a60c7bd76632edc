//! Server-sent events: bytes in, frames out. Pure and incremental; no input makes it panic or grow without bound.

use std::collections::VecDeque;

/// The longest frame that is read; a longer one is not of this daemon.
const LARGEST_FRAME_BYTES: usize = 16 << 20;

/// One message of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Value of `event:`; empty where there was none.
    pub event: String,
    /// Lines of `data:`, joined by newlines.
    pub data: String,
    /// Value of `id:`.
    pub id: Option<String>,
}

/// A frame is longer than anybody would send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of the stream is longer than {LARGEST_FRAME_BYTES} bytes")]
pub struct FrameTooLong;

/// Reads frames from a stream that may be cut into pieces anywhere.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    frame: Frame,
    has_data: bool,
    frame_bytes: usize,
    after_cr: bool,
    frames: VecDeque<Frame>,
}

impl Parser {
    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// [`FrameTooLong`]: nothing that comes after it can be trusted.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), FrameTooLong> {
        for &byte in bytes {
            let completes_crlf = std::mem::take(&mut self.after_cr) && byte == b'\n';
            match byte {
                b'\n' if completes_crlf => {}
                b'\n' => self.end_line(),
                b'\r' => {
                    self.after_cr = true;
                    self.end_line();
                }
                _ => {
                    self.frame_bytes += 1;
                    if self.frame_bytes > LARGEST_FRAME_BYTES {
                        return Err(FrameTooLong);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(())
    }

    /// The oldest complete frame.
    pub fn pop(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            self.end_frame();
            return;
        }
        let line = String::from_utf8_lossy(&line);
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.frame.event),
            "data" => {
                if self.has_data {
                    self.frame.data.push('\n');
                }
                self.has_data = true;
                self.frame.data.push_str(value);
            }
            "id" if !value.contains('\0') => self.frame.id = Some(value.to_owned()),
            // A comment (empty name) keeps the connection alive; other fields are for other clients.
            _ => {}
        }
    }

    fn end_frame(&mut self) {
        self.frame_bytes = 0;
        let frame = std::mem::take(&mut self.frame);
        if std::mem::take(&mut self.has_data) || !frame.event.is_empty() || frame.id.is_some() {
            self.frames.push_back(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(pieces: &[&[u8]]) -> Vec<Frame> {
        let mut parser = Parser::default();
        for piece in pieces {
            parser.feed(piece).unwrap();
        }
        std::iter::from_fn(|| parser.pop()).collect()
    }

    fn frame(event: &str, data: &str, id: Option<&str>) -> Frame {
        Frame {
            event: event.into(),
            data: data.into(),
            id: id.map(Into::into),
        }
    }

    #[test]
    fn frames_are_read_as_the_standard_says() {
        let text = b":hb\n\nevent: state\nid: e:1\ndata: {\"a\":\ndata: 1}\n\ndata:x\r\n\r\nid: e:2\n\nfoo\nretry: 5\n\nevent: end\n\nevent: cut";
        let expected = [
            frame("state", "{\"a\":\n1}", Some("e:1")),
            frame("", "x", None),
            frame("", "", Some("e:2")),
            frame("end", "", None),
        ];
        assert_eq!(frames(&[text]), expected);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = Parser::default();
        let block = vec![b'x'; 1 << 20];
        let refused = (0..20).find_map(|_| parser.feed(&block).err());
        assert_eq!(refused, Some(FrameTooLong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless_and_pieces_make_no_difference(
            bytes in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'\r'), Just(b':'), Just(b' '), Just(b'd'), any::<u8>()],
                0..400,
            ),
            cuts in proptest::collection::vec(0usize..400, 0..8),
        ) {
            let whole = frames(&[&bytes]);
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let mut from = 0;
            let pieces: Vec<&[u8]> = cuts
                .iter()
                .map(|&to| &bytes[std::mem::replace(&mut from, to)..to])
                .collect();
            prop_assert_eq!(whole, frames(&pieces));
        }

        #[test]
        fn what_is_written_is_read(event in "[a-z_]{1,9}", data in "[^\r\n\0]{0,40}", seq in any::<u64>()) {
            let text = format!("event: {event}\nid: e:{seq}\ndata: {data}\n\n");
            let expected = vec![frame(&event, &data, Some(&format!("e:{seq}")))];
            prop_assert_eq!(frames(&[text.as_bytes()]), expected);
        }
    }
}
