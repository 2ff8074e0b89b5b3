//! Finding the files: globs and folders are expanded in sorted order, names are relative to the deepest folder that
//! all inputs share, so that `source_file` says the same on every host.

use std::path::{Component, Path, PathBuf};

use artifact::{Manifest, Split};

use super::container::{self, Container};
use crate::error::{Error, Result, nearest};

/// One file to read, or standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Where it lies; `None` is standard input.
    pub path: Option<PathBuf>,
    /// Path relative to the deepest folder shared by all inputs, with `/`; `-` for standard input.
    pub name: String,
    /// Size as stored, where known.
    pub size: Option<u64>,
}

impl Input {
    /// Whether its name leaves it open that it holds running text; standard input holds records unless said otherwise.
    pub fn may_be_text(&self) -> bool {
        self.path.as_deref().is_some_and(|path| container::by_name(path).is_none_or(Container::is_text))
    }
}

/// All files of a run.
#[derive(Clone, Debug, Default)]
pub struct InputSet {
    /// In the order in which they are read.
    pub inputs: Vec<Input>,
    /// Files in the given folders that are not data, by path, with the reason.
    pub passed_over: Vec<(PathBuf, &'static str)>,
    /// Whether all inputs are splits of folders that an earlier ingest finished.
    pub of_earlier_ingest: bool,
}

/// Expands what the user named. An argument that is an existing path is taken as it is; otherwise one with `*`, `?`
/// or `[` is a glob; a folder stands for all data files below it.
///
/// # Errors
/// A path that does not exist, a pattern or folder without a data file, standard input named twice.
pub fn discover(arguments: &[String]) -> Result<InputSet> {
    let mut set = InputSet::default();
    let mut paths: Vec<Option<PathBuf>> = Vec::new();
    let mut splits = 0;
    for argument in arguments {
        if argument == "-" {
            if paths.contains(&None) {
                return Err(Error::Option {
                    option: "INPUT",
                    detail: "`-` (standard input) is named twice".into(),
                    hint: "it can be read once".into(),
                });
            }
            paths.push(None);
            continue;
        }
        let Found { files, passed_over, splits: of_these } = expand(argument)?;
        set.passed_over.extend(passed_over);
        splits += of_these;
        if files.is_empty() {
            return Err(Error::NothingFound { what: argument.clone() });
        }
        for path in files {
            if !paths.iter().flatten().any(|known| *known == path) {
                paths.push(Some(path));
            }
        }
    }
    set.of_earlier_ingest = splits > 0 && splits == paths.len();
    let root = common_folder(&paths.iter().flatten().cloned().collect::<Vec<_>>());
    for path in paths {
        set.inputs.push(match path {
            None => Input { path: None, name: "-".into(), size: None },
            Some(path) => {
                let found = std::fs::metadata(&path).map_err(|source| Error::Open { path: path.clone(), source })?;
                if !found.is_file() {
                    // A file is opened more than once: to see what it is, to hash it, to read it.
                    return Err(Error::Option {
                        option: "INPUT",
                        detail: format!("{} is a pipe or a device, not a file", path.display()),
                        hint: "write it to a file first; ingest and tokenize also read standard input, named `-`"
                            .into(),
                    });
                }
                let name = relative_name(&path, &root);
                Input { path: Some(path), name, size: Some(found.len()) }
            }
        });
    }
    Ok(set)
}

/// What an argument stands for.
#[derive(Default)]
struct Found {
    files: Vec<PathBuf>,
    passed_over: Vec<(PathBuf, &'static str)>,
    /// How many of the files are splits of an earlier ingest.
    splits: usize,
}

impl Found {
    fn file(path: PathBuf) -> Self {
        Self { files: vec![path], ..Self::default() }
    }

    fn add(&mut self, other: Self) {
        self.files.extend(other.files);
        self.passed_over.extend(other.passed_over);
        self.splits += other.splits;
    }
}

fn expand(argument: &str) -> Result<Found> {
    let path = Path::new(argument);
    if path.is_dir() {
        return folder(path);
    }
    if path.exists() {
        return Ok(Found::file(path.to_path_buf()));
    }
    if !argument.contains(['*', '?', '[']) {
        return Err(Error::Missing { path: argument.into(), nearest: neighbour(path) });
    }
    let entries = glob::glob(argument).map_err(|error| Error::Option {
        option: "INPUT",
        detail: format!("`{argument}` is not a glob pattern: {error}"),
        hint: "for example 'data/*.jsonl' or 'data/**/*.csv'".into(),
    })?;
    let mut found = Found::default();
    for entry in entries {
        let entry = entry.map_err(|error| Error::Open { path: error.path().into(), source: error.into() })?;
        found.add(if entry.is_dir() { folder(&entry)? } else { Found::file(entry) });
    }
    found.files.sort();
    found.files.dedup();
    Ok(found)
}

/// All data files below a folder. Text files count only where the folder has nothing else, because a folder of
/// records usually also holds a licence and a note in text.
fn folder(root: &Path) -> Result<Found> {
    let (mut found, mut texts) = (Found::default(), Vec::new());
    let mut walk = walkdir::WalkDir::new(root).follow_links(true).sort_by_file_name().into_iter();
    while let Some(entry) = walk.next() {
        let entry = entry.map_err(|error| Error::Open {
            path: error.path().unwrap_or(root).into(),
            source: error.into_io_error().unwrap_or_else(|| std::io::Error::other("links form a circle")),
        })?;
        let (depth, kind) = (entry.depth(), entry.file_type());
        let hidden = depth > 0 && entry.file_name().to_string_lossy().starts_with(['.', '_']);
        let path = entry.into_path();
        if kind.is_dir() {
            let made = finished(&path);
            match made {
                _ if hidden => found.passed_over.push((path, "hidden: a name that begins with . or _")),
                None => continue,
                Some(manifest) if manifest.identity.stage == INGEST => found.add(splits(&path, &manifest)),
                Some(manifest) if depth == 0 => return Err(no_data_set(root, &manifest)),
                Some(_) => found.passed_over.push((path, "a folder of another stage")),
            }
            walk.skip_current_dir();
            continue;
        }
        match container::by_name(&path) {
            _ if hidden => found.passed_over.push((path, "hidden: a name that begins with . or _")),
            _ if !kind.is_file() => found.passed_over.push((path, "a pipe or a device")),
            _ if is_note(&path) => found.passed_over.push((path, "a note about the data")),
            Some(kind) if kind.is_text() => texts.push(path),
            Some(_) => found.files.push(path),
            None => found.passed_over.push((path, "not a known ending")),
        }
    }
    if found.files.is_empty() {
        found.files = texts;
    } else {
        found.passed_over.extend(texts.into_iter().map(|path| (path, "text beside files of records")));
    }
    Ok(found)
}

/// The stage whose folders hold examples.
const INGEST: &str = "retune-ingest";

/// The manifest of a folder that a stage of ours finished.
fn finished(folder: &Path) -> Option<Manifest> {
    // What others call manifest.json is not read as ours.
    Manifest::read(folder).ok().flatten().filter(|manifest| manifest.identity.stage.starts_with("retune-"))
}

/// The tables of examples of a folder that an earlier ingest finished.
fn splits(folder: &Path, manifest: &Manifest) -> Found {
    let (files, others): (Vec<PathBuf>, Vec<PathBuf>) = manifest
        .outputs
        .iter()
        .map(|output| folder.join(&output.name))
        .partition(|path| Split::ALL.iter().any(|split| path.ends_with(split.file_name())));
    let passed_over =
        others.into_iter().map(|path| (path, "not an example: what an earlier ingest rejected or reported")).collect();
    Found { splits: files.len(), files, passed_over }
}

fn no_data_set(folder: &Path, manifest: &Manifest) -> Error {
    Error::BadFile {
        file: folder.display().to_string(),
        detail: format!("expected a data set, found what {} made", manifest.identity.stage),
        hint: "name a folder of retune-ingest, or the file in it that you mean".into(),
    }
}

fn is_note(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
    ["LICENSE", "LICENCE", "README", "COPYING", "NOTICE", "MANIFEST.JSON", "DATASET_INFO", "DATASET_DICT"]
        .iter()
        .any(|note| name.starts_with(note))
}

fn neighbour(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let wanted = path.file_name()?.to_string_lossy().into_owned();
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    let name = nearest(&wanted, names.iter().map(String::as_str))?;
    Some(path.with_file_name(name).to_string_lossy().into_owned())
}

/// Resolves `.` and `..` by their text; links are left alone, because a link's own name is the user's name.
fn absolute(path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).components() {
        match part {
            Component::ParentDir => {
                whole.pop();
            }
            Component::CurDir => {}
            part => whole.push(part),
        }
    }
    whole
}

fn common_folder(paths: &[PathBuf]) -> PathBuf {
    let mut common: Option<PathBuf> = None;
    for path in paths {
        let folder = absolute(path).parent().map(Path::to_path_buf).unwrap_or_default();
        common = Some(match common {
            None => folder,
            Some(known) => {
                known.components().zip(folder.components()).take_while(|(a, b)| a == b).map(|(part, _)| part).collect()
            }
        });
    }
    common.unwrap_or_default()
}

fn relative_name(path: &Path, root: &Path) -> String {
    let whole = absolute(path);
    let relative = whole.strip_prefix(root).unwrap_or(&whole);
    relative.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"x").unwrap();
    }

    fn names(set: &InputSet) -> Vec<&str> {
        set.inputs.iter().map(|input| input.name.as_str()).collect()
    }

    #[test]
    fn names_are_relative_to_the_deepest_shared_folder() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a/x.jsonl", "a/deep/y.csv.gz", "b/z.json"] {
            touch(&root.path().join(name));
        }
        let at = |name: &str| root.path().join(name).to_string_lossy().into_owned();
        assert_eq!(names(&discover(&[at("a/x.jsonl")]).unwrap()), ["x.jsonl"]);
        assert_eq!(names(&discover(&[at("a")]).unwrap()), ["deep/y.csv.gz", "x.jsonl"]);
        assert_eq!(names(&discover(&[at("b/z.json"), at("a/../a/x.jsonl")]).unwrap()), ["b/z.json", "a/x.jsonl"]);
        assert_eq!(names(&discover(&[at("*/*.json*")]).unwrap()), ["a/x.jsonl", "b/z.json"]);
    }

    #[test]
    fn text_beside_records_and_notes_are_passed_over() {
        let root = tempfile::tempdir().unwrap();
        for name in ["LICENSE.txt", "notes.txt", "data.csv", ".hidden.csv"] {
            touch(&root.path().join(name));
        }
        let set = discover(&[root.path().to_string_lossy().into_owned()]).unwrap();
        assert_eq!(names(&set), ["data.csv"]);
        let names: Vec<String> =
            set.passed_over.iter().map(|(path, _)| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
        assert_eq!(names, [".hidden.csv", "LICENSE.txt", "notes.txt"]);
    }

    #[test]
    #[cfg(unix)]
    fn a_device_is_no_file() {
        let refused = discover(&["/dev/null".to_owned()]).unwrap_err();
        assert!(refused.to_string().contains("/dev/null is a pipe or a device"), "{refused}");
    }

    #[test]
    fn a_missing_file_is_told_with_its_neighbour() {
        let root = tempfile::tempdir().unwrap();
        touch(&root.path().join("train.jsonl"));
        let error = discover(&[root.path().join("trian.jsonl").to_string_lossy().into_owned()]).unwrap_err();
        assert!(error.hint().unwrap().contains("train.jsonl"), "{error:?}");
    }
}
