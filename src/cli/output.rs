//! What is printed. Everything that came from a broker or a target is escaped first: it must not steer a terminal.

use std::io::{self, Write};

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;

/// What a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// A table for people.
    #[default]
    Table,
    /// The API's own JSON.
    Json,
}

impl Output {
    /// Prints an answer: as it is for programs, as `rows` under `header` for people.
    pub fn list<T: Serialize, const N: usize>(
        self,
        answer: &T,
        header: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Json => json(answer),
            Self::Table => print(&table(Some(&header), rows)),
        }
    }

    /// Prints one thing: as it is for programs, name by name for people.
    pub fn one<'a, T: Serialize>(
        self,
        answer: &T,
        members: impl IntoIterator<Item = (&'a str, String)>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Json => json(answer),
            Self::Table => print(&table(None, members.into_iter().map(|(name, value)| [name.to_owned(), value]))),
        }
    }
}

/// Prints JSON.
pub fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    print(&(json_safe(&serde_json::to_string_pretty(value)?) + "\n"))
}

/// Prints text. A reader that has seen enough (`| head`) is no error.
pub fn print(text: &str) -> anyhow::Result<()> {
    match write(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

/// Writes to standard output and makes sure that it is out.
pub fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

fn table<const N: usize>(header: Option<&[&str; N]>, rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if let Some(header) = header {
        table.set_header(header);
    }
    for row in rows {
        table.add_row(row.map(|cell| if cell.is_empty() { "-".to_owned() } else { safe(&cell) }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// `text` in one line and without anything that a terminal obeys or that changes the order of what is read.
pub fn safe(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

/// JSON without what steers a terminal: such characters can only stand in its texts, where they are written in JSON's own way.
pub fn json_safe(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && steers(c) {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| shown.push_str(&format!("\\u{unit:04x}")));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Control characters, and the invisible ones that turn the direction of text or hide in it.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(safe("a\x1b]0;x\x07\n\u{9b}\u{202e}é"), "a\\u{1b}]0;x\\u{7}\\u{a}\\u{9b}\\u{202e}é");
        let json = json_safe(&serde_json::to_string_pretty(&["\u{9b}\u{202e}\u{e0001}\x1b"]).unwrap());
        assert_eq!(json, "[\n  \"\\u009b\\u202e\\udb40\\udc01\\u001b\"\n]");
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), ["\u{9b}\u{202e}\u{e0001}\x1b"]);
    }

    #[test]
    fn tables_are_plain_columns() {
        let rows = [["orders-read".to_owned(), String::new()], ["b".into(), "x\ny".into()]];
        assert_eq!(table(Some(&["NAME", "WHY"]), rows), "NAME         WHY\norders-read  -\nb            x\\u{a}y\n");
    }
}
