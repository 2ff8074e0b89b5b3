//! `org/name@revision`: a model on a hub, at a branch, tag or commit.

use std::fmt;

/// The revision that is meant where none is named.
const MAIN: &str = "main";

/// A model on a hub. Each part is safe as a part of a path and of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName {
    repository: String,
    revision: Option<String>,
}

impl ModelName {
    /// Reads `org/name` or `org/name@revision`; `None` where `text` does not look like one, as a path with a leading dot
    /// or slash or more than two parts does not.
    pub fn parse(text: &str) -> Option<Self> {
        let (repository, revision) = match text.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (text, None),
        };
        let (owner, name) = repository.split_once('/')?;
        let fits = is_part(owner) && is_part(name) && revision.is_none_or(is_revision);
        fits.then(|| Self { repository: repository.to_owned(), revision: revision.map(str::to_owned) })
    }

    /// `org/name`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Branch, tag or commit; `main` where none was named.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    /// Whether the revision is a commit, which never changes.
    pub(crate) fn is_pinned(&self) -> bool {
        is_commit(self.revision())
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.revision {
            Some(revision) => write!(formatter, "{}@{revision}", self.repository),
            None => formatter.write_str(&self.repository),
        }
    }
}

/// A Git commit in full.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_part(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric()) && text.bytes().all(inside)
}

/// A Git reference: parts between slashes, none of which climbs.
fn is_revision(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
    text.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && part.bytes().all(inside))
}

#[cfg(test)]
mod tests {
    use super::ModelName;

    #[test]
    fn names_are_told_from_paths() {
        for text in ["org/name", "HuggingFaceTB/SmolLM2-135M", "org/name@main", "o/n.x_y@refs/pr/1", "o/n@v1.0"] {
            assert_eq!(ModelName::parse(text).unwrap().to_string(), text);
        }
        for text in
            ["", "name", "./org/name", "/org/name", "../name", "a/b/c", "a/b/", "a/b@", "a/b@../x", "a/b@x//y", "a b/c"]
        {
            assert_eq!(ModelName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_branch_is_main_unless_another_is_named() {
        assert_eq!(ModelName::parse("o/n").unwrap().revision(), "main");
        let name = ModelName::parse("o/n@refs/pr/1").unwrap();
        assert_eq!((name.repository(), name.revision()), ("o/n", "refs/pr/1"));
        assert!(ModelName::parse("o/n@0123456789abcdef0123456789abcdef01234567").unwrap().is_pinned());
        assert!(!name.is_pinned());
    }
}
