//! What came out, as docs/pools.md has it.

use super::load::Seen;
use super::pools::Pool;

/// One pool.
pub struct Row {
    pub pool: &'static Pool,
    pub rotations: usize,
    pub following: Seen,
    /// With a login that never changes, at the same time.
    pub fixed: Option<Seen>,
    /// After so many rotations.
    pub naive: (usize, Seen),
}

impl Row {
    /// Demands that nothing failed but naively.
    pub fn assert_well(&self, rotations: usize) {
        let name = self.pool.name;
        assert!(self.rotations >= rotations, "{name}: {} rotations", self.rotations);
        let ways = [(Some(&self.following), "rotating"), (self.fixed.as_ref(), "with a fixed login")];
        for (seen, way) in ways.into_iter().filter_map(|(seen, way)| Some((seen?, way))) {
            assert!(seen.done > 200, "{name} {way}: {} operations are no load", seen.done);
            assert_eq!(seen.failed, 0, "{name} {way}: {:#?}", seen.words);
        }
    }
}

/// Prints all as a table in Markdown.
pub fn print(rows: &[Row]) {
    println!(
        "| pool | a credential lives | rotations | operations | failed | p99 added | with a fixed login | naive: rotations | operations | failed |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for Row { pool, rotations, following, fixed, naive: (naive_rotations, naive) } in rows {
        let (lives, _) = pool.life();
        println!(
            "| {} | {lives} | {rotations} | {} | **{}** | {} | {} | {naive_rotations} | {} | {} |",
            pool.name,
            following.done,
            following.failed,
            milliseconds(following),
            fixed.as_ref().map_or("-".to_owned(), milliseconds),
            naive.done,
            naive.failed,
        );
    }
    for Row { pool, naive: (_, naive), .. } in rows.iter().filter(|row| !row.naive.1.words.is_empty()) {
        println!("{}, naively, first: {}", pool.name, naive.words[0]);
    }
}

fn milliseconds(seen: &Seen) -> String {
    format!("{:.1} ms", seen.p99().as_secs_f64() * 1000.0)
}
