//! What each receiver said, as docs/tokens-recipes.md has it.

use super::receivers::Running;

/// A column for each receiver.
pub struct Table {
    lines: Vec<String>,
}

impl Table {
    pub fn new(running: &[Running]) -> Self {
        let names = running.iter().map(|one| format!(" {} {} |", one.receiver.library, one.receiver.version()));
        let rule = "---|".repeat(running.len());
        Self { lines: vec![format!("| shown |{}", names.collect::<String>()), format!("|---|{rule}")] }
    }

    pub fn row(&mut self, case: &str, said: Vec<String>) {
        let cells: String = said.iter().map(|cell| format!(" {} |", cell.replace('|', "\\|"))).collect();
        self.lines.push(format!("| {case} |{cells}"));
    }

    pub fn print(&self) {
        println!("{}", self.lines.join("\n"));
    }
}
