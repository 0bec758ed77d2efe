//! Where in a file something stands, for messages: `node.toml:3`.

use toml::de::{DeTable, DeValue};

/// The file, with the line where it is known.
pub(crate) fn name(file: &str, line: Option<usize>) -> String {
    match line {
        Some(line) => format!("{file}:{line}"),
        None => file.to_owned(),
    }
}

/// The line, counted from 1, that byte `at` stands in.
pub(crate) fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// The line of a key such as `gateway.profiles[1].name`, or of as much of it as is there:
/// the rest has its default.
pub(crate) fn line_of_key(text: &str, key: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut found = None;
    for part in key.split('.') {
        let (wanted, index) = match part.split_once('[') {
            Some((name, index)) => (name, index.trim_end_matches(']').parse::<usize>().ok()),
            None => (part, None),
        };
        let there = table.iter().find(|(name, _)| name.get_ref() == wanted);
        let Some((name, mut value)) = there else {
            break;
        };
        found = Some(name.span().start);
        if let (Some(index), DeValue::Array(list)) = (index, value.get_ref()) {
            let Some(item) = list.get(index) else {
                break;
            };
            found = Some(item.span().start);
            value = item;
        }
        let DeValue::Table(below) = value.get_ref() else {
            break;
        };
        table = below;
    }
    found.map(|at| line(text, at))
}

#[cfg(test)]
mod tests {
    use super::line_of_key;

    #[test]
    fn a_key_has_its_line_however_it_is_written() {
        let text = "version = 1\n[gateway]\nprofiles = [\n  { name = \"a\" },\n  { name = \"b\" },\n]\n\
                    [drain]\ndeadline = \"1s\"\n";
        assert_eq!(line_of_key(text, "version"), Some(1));
        assert_eq!(line_of_key(text, "gateway.profiles"), Some(3));
        assert_eq!(line_of_key(text, "gateway.profiles[1].name"), Some(5));
        assert_eq!(line_of_key(text, "drain.deadline"), Some(8));
        let dotted = "\ngateway.max_streams = 0\n";
        assert_eq!(line_of_key(dotted, "gateway.max_streams"), Some(2));
    }

    #[test]
    fn a_key_that_is_not_there_has_the_line_of_what_is() {
        let text = "[[gateway.profiles]]\nname = \"a\"\n\n[[gateway.profiles]]\nname = \"b\"\n";
        assert_eq!(line_of_key(text, "gateway.profiles[1].width"), Some(4));
        assert_eq!(line_of_key(text, "engine.workers"), None);
    }
}
