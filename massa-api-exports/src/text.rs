//! Messages of errors, shortened: what an error repeats of somebody's input is as little as names the mistake.

/// Bytes of an input that an error repeats, at most.
pub const QUOTED_BYTES_MAX: usize = 200;

/// A message of at most `max` bytes in which no word, and nothing between double quotes, has more than
/// [`QUOTED_BYTES_MAX`]. Of what is too long beginning and end are kept: parsers say at the end what they expected, and where.
pub fn shortened(message: &str, max: usize) -> String {
    if message.len() <= QUOTED_BYTES_MAX {
        return message.to_string();
    }
    let words: String = Words(message).map(|word| cut(word, QUOTED_BYTES_MAX)).collect();
    cut(&words, max)
}

/// At most `max` bytes of a text: its beginning and its end, with a gap between them. `max` is at least that of the gap.
pub fn cut(text: &str, max: usize) -> String {
    const GAP: &str = " … ";
    if text.len() <= max {
        return text.to_string();
    }
    let kept = max.saturating_sub(GAP.len());
    let (mut head, mut tail) = (kept * 3 / 5, text.len() - kept * 2 / 5);
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    format!("{}{GAP}{}", &text[..head], &text[tail..])
}

/// Words of a text, each with the space before it; a text in double quotes is one word. Together they are the text.
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (mut is_quoted, mut is_escaped) = (false, false);
        let end = self.0.char_indices().find(|(index, c)| {
            match c {
                c if c.is_whitespace() && !is_quoted => return *index > 0,
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = true,
                '"' => is_quoted = !is_quoted,
                _ => {}
            }
            false
        });
        let (word, rest) = self.0.split_at(end.map_or(self.0.len(), |(index, _)| index));
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_somebody_wrote_is_cut_and_what_it_is_about_stays() {
        let long = "x".repeat(1_000);
        for quoted in [
            format!("\"{long}\""),
            format!("\"{}\"", "x y ".repeat(300)),
            format!("\"{}\"", r#"x \" y "#.repeat(300)),
            format!("`{long}`"),
        ] {
            let message = format!("settings: config.toml: api.allow_hosts: invalid value {quoted}, expected a name");
            let short = shortened(&message, 600);
            assert!(
                short.starts_with("settings: config.toml: api.allow_hosts: invalid value "),
                "{short}"
            );
            assert!(short.ends_with(", expected a name") && short.len() < 300, "{short}");
        }
        let own = "a message of this node with many words ".repeat(10);
        assert_eq!(shortened(&own, 600), own);
    }

    proptest! {
        #[test]
        fn a_text_that_is_cut_keeps_beginning_and_end(text in "\\PC{0,400}", max in 50usize..200) {
            let short = cut(&text, max);
            prop_assert_eq!(short == text, text.len() <= max);
            if text.len() > max {
                prop_assert!(short.len() <= max);
                let gap = short.match_indices(" … ").any(|(at, gap)| {
                    text.starts_with(&short[..at]) && text.ends_with(&short[at + gap.len()..])
                });
                prop_assert!(gap, "{}", short);
            }
        }

        #[test]
        fn the_words_of_a_text_are_the_text(text in r#"[a-z "\\ä]{0,100}"#) {
            prop_assert_eq!(Words(&text).collect::<String>(), text);
        }

        #[test]
        fn a_message_has_no_more_than_it_may(text in r#"[a-z "\\ä]{0,2000}"#, max in 300usize..700) {
            prop_assert!(shortened(&text, max).len() <= max);
        }
    }
}
