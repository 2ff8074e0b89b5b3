//! What ingest tells at the end: every row's whereabouts, with one example of each reason.

use std::fmt::Write;
use std::path::Path;

use cli::Report;
use cli::format::{count, plural};
use dataset::contamination::RUN_WORDS;
use dataset::exclusion::Exclusion;
use dataset::ingest::Summary;
use dataset::inputs::InputSet;
use dataset::records::excerpt;

/// The report; `folder` is `None` on a dry run.
pub(crate) fn report(summary: &Summary, found: &InputSet, folder: Option<&Path>) -> Report {
    let mut text = String::new();
    files(&mut text, summary, found);
    let splits = summary.splits.iter().map(|(split, counts)| format!("{} {}", split.as_str(), count(counts.rows)));
    let splits = splits.collect::<Vec<_>>().join(", ");
    let place = folder.map_or_else(|| "nowhere: a dry run".into(), |folder| folder.display().to_string());
    line(&mut text, &format!("written to {place}: {splits}"));
    for (kind, reasons) in [("rejected as", &summary.rejects), ("found", &summary.findings)] {
        for (code, counts) in reasons {
            let example = excerpt(&counts.example, 240);
            line(&mut text, &format!("{kind} {code}: {}, such as {example}", count(counts.rows)));
        }
    }
    if let Some(near) = &summary.near {
        let chance = near.chance(near.similarity) * 100.0;
        line(
            &mut text,
            &format!(
                "near duplicates: runs of {} words, similarity {}, {} bands of {} hashes (which compare {chance:.0} % of the \
                 pairs of that similarity)",
                near.ngram, near.similarity, near.bands, near.rows
            ),
        );
    }
    let Summary { read, written, rejected, repeated, shared_prompts: shared, .. } = summary;
    let copies = if *repeated > 0 { format!(" + {} repeated", count(*repeated)) } else { String::new() };
    let (read, written, rejected) = (plural(*read, "row"), count(*written), count(*rejected));
    line(&mut text, &format!("{read} in{copies} = {written} out + {rejected} rejected"));
    if shared.prompts > 0 {
        line(
            &mut text,
            &format!(
                "note: {} in more than one split, {} with a prompt of the training split; \
                 --split-by prompt keeps them together",
                plural(shared.prompts, "prompt"),
                plural(shared.held_out_rows, "held-out row"),
            ),
        );
    }
    if shared.overlapping_rows > 0 {
        let named = shared.overlapping.join(", ");
        line(
            &mut text,
            &format!(
                "note: {} a run of words with the training split ({named}{}): one sentence or line, as far as {RUN_WORDS} words, stands in \
                 both. That is usual where texts follow a pattern; where they are copies, scores will flatter, and --decontaminate \
                 takes such rows out",
                if shared.overlapping_rows == 1 {
                    "1 held-out row shares".to_owned()
                } else {
                    format!("{} held-out rows share", count(shared.overlapping_rows))
                },
                if shared.overlapping_rows as usize > shared.overlapping.len() { ", …" } else { "" },
            ),
        );
    }
    if let Some(told) = excluded(summary) {
        line(&mut text, &format!("warning: {told}"));
    }
    for (split, _) in summary.splits.iter().filter(|(_, counts)| counts.rows == 0) {
        line(&mut text, &format!("note: no row fell to {}: give it a larger share, or more rows", split.as_str()));
    }
    Report::new(text.trim_end().to_owned(), summary)
}

/// What `--exclude` has to do with the data, where that is not all that was asked.
pub(crate) fn excluded(summary: &Summary) -> Option<String> {
    let Exclusion { ids, found } = summary.excluded?;
    let told = match (ids, found) {
        (0, _) => "--exclude names no id: its files have no rows".to_owned(),
        (ids, found) if found == ids => return None,
        (ids, found) => format!(
            "of the {} of --exclude, {} of no row of the data; an id is the hash of a row's content, so that other options \
             of reading or cleaning change it",
            plural(ids, "id"),
            if ids - found == 1 { "1 is".to_owned() } else { format!("{} are", count(ids - found)) },
        ),
    };
    Some(told)
}

/// At most a screen of files.
const FILES_SHOWN: usize = 12;

fn files(text: &mut String, summary: &Summary, found: &InputSet) {
    for file in summary.files.iter().take(FILES_SHOWN) {
        let rows = plural(file.rows, "row");
        let weight = file.weight.map_or_else(String::new, |weight| format!(", weight {weight}"));
        line(text, &format!("{}: {} read as {}, {}{weight}", file.file, rows, file.container, file.format));
        for note in &file.notes {
            line(text, &format!("  {note}"));
        }
        if !file.unused_columns.is_empty() {
            let columns = file.unused_columns.join(", ");
            line(text, &format!("  columns not used: {columns} (--keep {} keeps one)", file.unused_columns[0]));
        }
        if let Some((key, _)) = file.unused_turn_keys.first_key_value() {
            let field = if file.format == "sharegpt" { "conversations" } else { "messages" };
            let keys = counted(&file.unused_turn_keys);
            let name = key.rsplit('.').next().unwrap_or(key);
            line(text, &format!("  keys of turns not used: {keys} (--keep '{name}={field}[].{key}' keeps one)"));
        }
        if !file.renamed_roles.is_empty() {
            line(text, &format!("  roles: {}", counted(&file.renamed_roles)));
        }
    }
    if summary.files.len() > FILES_SHOWN {
        line(text, &format!("… and {}", plural((summary.files.len() - FILES_SHOWN) as u64, "more file")));
    }
    for (path, reason) in found.passed_over.iter().take(FILES_SHOWN) {
        line(text, &format!("passed over: {} ({reason})", path.display()));
    }
    if found.passed_over.len() > FILES_SHOWN {
        let more = plural((found.passed_over.len() - FILES_SHOWN) as u64, "more file");
        line(text, &format!("passed over: and {more} (-v names all)"));
        found
            .passed_over
            .iter()
            .for_each(|(path, reason)| tracing::info!("passed over: {} ({reason})", path.display()));
    }
}

/// Names with their turns, the most frequent first.
pub(crate) fn counted(turns: &std::collections::BTreeMap<String, u64>) -> String {
    const SHOWN: usize = 8;
    let mut sorted: Vec<(&String, &u64)> = turns.iter().collect();
    sorted.sort_by(|left, right| right.1.cmp(left.1).then(left.0.cmp(right.0)));
    let mut shown: Vec<String> =
        sorted.iter().take(SHOWN).map(|(name, turns)| format!("{name} ({})", plural(**turns, "turn"))).collect();
    if sorted.len() > SHOWN {
        shown.push(format!("and {} more", sorted.len() - SHOWN));
    }
    shown.join(", ")
}

fn line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}
