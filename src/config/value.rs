//! TOML values: what they are called, how engines get them, and which key somebody may have meant.

use serde_json::{Number, Value};
use toml::de::{DeInteger, DeValue};

/// Says that `wanted` was expected and what was found.
pub(super) fn expected(wanted: &str, found: &DeValue<'_>) -> String {
    let found = match found {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    format!("must be {wanted}, not {found}")
}

/// The integer, when it is a whole number of at most 64 bits and not negative.
pub(super) fn to_u64(integer: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// The value as engines get it.
///
/// # Errors
/// A number that JSON cannot hold.
pub(super) fn to_json(value: &DeValue<'_>) -> Result<Value, String> {
    Ok(match value {
        DeValue::String(s) => Value::String(s.to_string()),
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Datetime(d) => Value::String(d.to_string()),
        DeValue::Integer(n) => {
            let number = i64::from_str_radix(n.as_str(), n.radix()).map(Number::from);
            Value::Number(number.map_err(|_| format!("must be from {} to {}", i64::MIN, i64::MAX))?)
        }
        DeValue::Float(f) => {
            let number = f.as_str().parse().ok().and_then(Number::from_f64);
            Value::Number(number.ok_or("must be a finite number")?)
        }
        DeValue::Array(items) => Value::Array(items.iter().map(|i| to_json(i.get_ref())).collect::<Result<_, _>>()?),
        DeValue::Table(table) => {
            let entry = |(k, v): (&toml::Spanned<_>, &toml::Spanned<_>)| {
                let key: &std::borrow::Cow<'_, str> = k.get_ref();
                Ok::<_, String>((key.to_string(), to_json(v.get_ref())?))
            };
            Value::Object(table.iter().map(entry).collect::<Result<_, _>>()?)
        }
    })
}

/// The one of `known` that is so near to `word` that it was probably meant.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // A long word is no slip of a key, and the distance of two long words is costly.
    if word.len() > 64 {
        return None;
    }
    let near = |k: &str| (1 + k.len().min(word.len()) / 4).min(3);
    known.map(|k| (distance(word, k), k)).filter(|(d, k)| *d <= near(k)).min().map(|(_, k)| k)
}

/// How many characters must be added, dropped, replaced or swapped with their neighbour (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["ttl", "max_ttl", "overlap", "target", "params"];
        let near = |word| nearest(word, known.into_iter());
        assert_eq!(near("overlpa"), Some("overlap"));
        assert_eq!(near("targets"), Some("target"));
        assert_eq!(near("max-ttl"), Some("max_ttl"));
        assert_eq!(near("tll"), Some("ttl"));
        assert_eq!(near("password"), None);
        assert_eq!(near(""), None);
    }
}
