//! Rust source with its comments and the insides of its literals blanked out, so that a rule can look at code alone. It keeps every
//! line and column; it must never be asked what the code means.

/// What the current character belongs to.
enum In {
    Code,
    LineComment,
    /// Nested so deep.
    BlockComment(usize),
    Text,
    /// A raw string that ends with a quote and so many hashes.
    RawText(usize),
}

/// `source` with comments and the insides of strings and character literals replaced by spaces. Quotes and line feeds stay.
pub fn mask(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut masked = String::with_capacity(source.len());
    let (mut state, mut i) = (In::Code, 0);
    while i < chars.len() {
        let rest = &chars[i..];
        let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
        // How many characters this turn takes, and whether they stay visible.
        let (taken, visible) = match &mut state {
            In::Code => match opens(rest, i.checked_sub(1).map(|before| chars[before])) {
                Some((opened, taken, visible)) => {
                    state = opened;
                    (taken, visible)
                }
                None => (char_literal(rest).unwrap_or(1), char_literal(rest).is_none()),
            },
            In::LineComment => {
                if rest[0] == '\n' {
                    state = In::Code;
                }
                (1, false)
            }
            In::BlockComment(depth) => match rest {
                ['/', '*', ..] => {
                    *depth += 1;
                    (2, false)
                }
                ['*', '/', ..] => {
                    *depth -= 1;
                    if *depth == 0 {
                        state = In::Code;
                    }
                    (2, false)
                }
                _ => (1, false),
            },
            In::Text => match rest {
                ['\\', _, ..] => (2, false),
                ['"', ..] => {
                    state = In::Code;
                    (1, true)
                }
                _ => (1, false),
            },
            In::RawText(hashes) => {
                let ends = rest[0] == '"' && rest[1..].iter().take_while(|c| **c == '#').count() >= *hashes;
                let taken = if ends { 1 + *hashes } else { 1 };
                if ends {
                    state = In::Code;
                }
                (taken, ends)
            }
        };
        masked.extend(rest[..taken.min(rest.len())].iter().map(|c| if visible { *c } else { blank(*c) }));
        i += taken;
    }
    masked
}

/// What a comment or string that begins here is, how many characters open it, and whether those stay visible.
fn opens(rest: &[char], before: Option<char>) -> Option<(In, usize, bool)> {
    match rest {
        ['/', '/', ..] => Some((In::LineComment, 2, false)),
        ['/', '*', ..] => Some((In::BlockComment(1), 2, false)),
        ['"', ..] => Some((In::Text, 1, true)),
        ['r', tail @ ..] if !before.is_some_and(|c| (c.is_alphanumeric() && c != 'b') || c == '_') => {
            let hashes = tail.iter().take_while(|c| **c == '#').count();
            (tail.get(hashes) == Some(&'"')).then_some((In::RawText(hashes), 2 + hashes, true))
        }
        _ => None,
    }
}

/// The length of the character literal that begins here; `None` for a lifetime or anything else.
fn char_literal(rest: &[char]) -> Option<usize> {
    match rest {
        ['\'', '\\', ..] => rest.iter().skip(3).position(|c| *c == '\'').map(|end| end + 4),
        ['\'', _, '\'', ..] => Some(3),
        _ => None,
    }
}

#[test]
fn only_code_stays_visible() {
    let rows = [
        ("a // b \"c\nd", "a        \nd"),
        ("a /* b /* c */ d */ e", "a                   e"),
        (r#"f("x \" // y") g"#, r#"f("         ") g"#),
        ("r#\"a\"b\"# c", "r#\"   \"# c"),
        ("br\"a\" c", "br\" \" c"),
        ("('\"', '\\'', '\\u{1f}', 'a) b", "(   ,     ,         , 'a) b"),
        ("\"a\nb\" c", "\" \n \" c"),
        ("for\"x\"", "for\" \""),
    ];
    for (source, expected) in rows {
        assert_eq!(mask(source), expected, "{source:?}");
    }
}
