//! What is known of a job before it prints anything, and which adapters that speaks for.

use super::Adapter;

/// What a job is, as far as it hints at what it will print.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// What sort of work it is.
    pub kind: Option<String>,
    /// Its command.
    pub command: Vec<String>,
}

impl Hints {
    /// Hints of a job's kind and command.
    #[must_use]
    pub fn new(kind: Option<&str>, command: &[String]) -> Self {
        Self {
            kind: kind.map(str::to_owned),
            command: command.to_vec(),
        }
    }

    /// Whether the job is one that the adapter is for.
    #[must_use]
    pub fn fit(&self, adapter: &Adapter) -> bool {
        let is_kind = |kind: &String| adapter.kinds.iter().any(|glob| matches(glob, kind));
        self.kind.as_ref().is_some_and(is_kind)
            || self.words().any(|word| {
                let name = word.rsplit('/').next().unwrap_or(word);
                adapter.commands.iter().any(|glob| matches(glob, name))
            })
    }

    /// The words of the command; an argument may be a line for a shell.
    fn words(&self) -> impl Iterator<Item = &str> {
        self.command
            .iter()
            .flat_map(|argument| argument.split(|c: char| c.is_whitespace() || ";|&()".contains(c)))
            .filter(|word| !word.is_empty())
    }
}

/// Whether `text` fits a pattern in which `*` stands for anything and `?` for one character.
fn matches(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut at, mut place) = (0, 0);
    // Where the last `*` is, and up to where it reaches as yet.
    let mut star: Option<(usize, usize)> = None;
    while place < text.len() {
        match glob.get(at) {
            Some('*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(&c) if c == '?' || c == text[place] => {
                at += 1;
                place += 1;
            }
            _ => {
                let Some((star_at, reach)) = star else {
                    return false;
                };
                star = Some((star_at, reach + 1));
                at = star_at + 1;
                place = reach + 1;
            }
        }
    }
    glob[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (glob, text, fits) in [
            ("rsync", "rsync", true),
            ("rsync", "rsync2", false),
            ("python*", "python3.11", true),
            ("*pip*", "pip", true),
            ("p?p", "pip", true),
            ("p?p", "pp", false),
            ("*a*b", "xaybzb", true),
            ("*a*b", "xayc", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(glob, text), fits, "{glob} {text}");
        }
    }
}
