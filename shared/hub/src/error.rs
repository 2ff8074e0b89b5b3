//! What can go wrong between a model's name and its files, each with what to do about it.

use std::path::{Path, PathBuf};

use crate::ModelName;

/// A model could not be had.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// No such repository, or one that the hub hides from whoever asks.
    #[error("{endpoint} has no model {}", name.repository())]
    NoRepository {
        /// The hub.
        endpoint: String,
        /// The model.
        name: ModelName,
        /// Whether a token was sent.
        signed_in: bool,
    },
    /// The repository is there, the revision is not.
    #[error("{} has no revision {} on {endpoint}", name.repository(), name.revision())]
    NoRevision {
        /// The hub.
        endpoint: String,
        /// The model.
        name: ModelName,
    },
    /// The repository lacks a file that its kind must have.
    #[error("{name} has no {file} on {endpoint}")]
    NoFile {
        /// The hub.
        endpoint: String,
        /// The model.
        name: ModelName,
        /// The file.
        file: String,
        /// What to do.
        hint: String,
    },
    /// The hub asks who wants the model, or refuses whom it knows.
    #[error("{endpoint} does not give {name} to {}: {said}", if *signed_in { "the owner of this token" } else { "strangers" })]
    Refused {
        /// The hub.
        endpoint: String,
        /// The model.
        name: ModelName,
        /// Whether a token was sent.
        signed_in: bool,
        /// The hub's own words.
        said: String,
    },
    /// An answer that is none of the above.
    #[error("{address} answers {status}{}", if said.is_empty() { String::new() } else { format!(": {said}") })]
    Answer {
        /// What was asked for.
        address: String,
        /// The HTTP status.
        status: u16,
        /// The server's own words.
        said: String,
    },
    /// The answer is not what a hub sends.
    #[error("{address} does not answer as a hub does: {what}")]
    NotAHub {
        /// What was asked for.
        address: String,
        /// What is missing or wrong.
        what: String,
    },
    /// No answer, or one that broke off too often.
    #[error("cannot reach {address}: {why}")]
    Unreachable {
        /// What was asked for.
        address: String,
        /// What the connection says.
        why: String,
    },
    /// A download is not what the hub promised.
    #[error("{file} of {name} arrived damaged: expected {kind} {expected}, found {found}")]
    WrongHash {
        /// The model.
        name: ModelName,
        /// The file.
        file: String,
        /// Kind of hash.
        kind: &'static str,
        /// What the hub says.
        expected: String,
        /// What arrived.
        found: String,
    },
    /// Offline, and the cache does not hold the model.
    #[error("{name} is not in the cache {}{}, and {why}", cache.display(), listed(missing))]
    NotCached {
        /// The model.
        name: ModelName,
        /// The cache.
        cache: PathBuf,
        /// Files that a snapshot lacks; none where there is no snapshot.
        missing: Vec<String>,
        /// Why it is not downloaded.
        why: String,
    },
    /// The disk is too full.
    #[error("{name} needs {needed} bytes more in {}, which has {free} free", cache.display())]
    NoSpace {
        /// The model.
        name: ModelName,
        /// The cache.
        cache: PathBuf,
        /// Bytes still to come.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The cache cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl HubError {
    /// What to do next, in a sentence.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoRepository { endpoint, name, signed_in } => format!(
                "check the spelling at {endpoint}/{}; {}",
                name.repository(),
                if *signed_in {
                    "where it is private, the token must belong to somebody who may see it"
                } else {
                    "where it is private or gated, set HF_TOKEN to a token of your account"
                }
            ),
            Self::NoRevision { endpoint, name } => {
                format!("{endpoint}/{}/refs lists branches and tags; without @revision main is taken", name.repository())
            }
            Self::NoFile { hint, .. } => hint.clone(),
            Self::Refused { endpoint, name, signed_in: false, .. } => format!(
                "accept its conditions at {endpoint}/{}, then set HF_TOKEN to a token of your account \
                 ({endpoint}/settings/tokens)",
                name.repository()
            ),
            Self::Refused { endpoint, name, signed_in: true, .. } => format!(
                "ask for access at {endpoint}/{} with the account of the token in HF_TOKEN, and see that the token is \
                 valid and may read gated models",
                name.repository()
            ),
            Self::Answer { status: 429, .. } => {
                "too many requests: wait some minutes, or set HF_TOKEN, which raises the limit".into()
            }
            Self::Answer { .. } | Self::NotAHub { .. } => {
                "see that HF_ENDPOINT, if it is set, is the address of a hub; else try again later".into()
            }
            Self::Unreachable { .. } => "check the network, HTTPS_PROXY and HF_ENDPOINT; what has arrived is kept, and \
                                         the next run goes on from there"
                .into(),
            Self::WrongHash { .. } => "nothing of it was kept: run it again, and if that does not help look at what \
                                       stands between this machine and the hub (HF_ENDPOINT, proxies)"
                .into(),
            Self::NotCached { .. } => {
                "run it once with network and without HF_HUB_OFFLINE, or point HF_HOME or HF_HUB_CACHE to the cache that \
                 holds it"
                    .into()
            }
            Self::NoSpace { .. } => "free some space, or let HF_HUB_CACHE name a folder on another disk".into(),
            Self::Io { .. } => "HF_HUB_CACHE names another folder for downloads".into(),
        })
    }

    /// Whether the hub could not be asked, so that what is cached may stand in.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Answer { status, .. } => *status >= 500,
            _ => false,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}

fn listed(missing: &[String]) -> String {
    if missing.is_empty() { String::new() } else { format!(" as a whole (it lacks {})", missing.join(", ")) }
}
