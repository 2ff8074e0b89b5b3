//! What the environment says about the hub: the variables of Hugging Face's own tools, with their meaning.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

const HUGGING_FACE: &str = "https://huggingface.co";

/// Where models come from, where they are kept, and who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Address of the hub, without a slash at its end: `HF_ENDPOINT`.
    pub endpoint: String,
    /// Folder of all models: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// `HF_TOKEN`, else the file at `HF_TOKEN_PATH`, else `token` in `HF_HOME`, as `hf auth login` writes it.
    pub token: Option<String>,
    /// `HF_HUB_OFFLINE`: the cache must do.
    pub offline: bool,
}

impl Settings {
    /// The settings of this process.
    pub fn from_environment() -> Self {
        Self::read(|name| std::env::var_os(name))
    }

    /// The settings that `variable` gives.
    fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let text = |name: &str| {
            let value = variable(name)?.to_string_lossy().trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        let is_true = |name: &str| {
            text(name).is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str()))
        };
        let user = path("HOME").or_else(|| path("USERPROFILE"));
        let expanded = |path: PathBuf| match (path.strip_prefix("~"), &user) {
            (Ok(inside), Some(user)) => user.join(inside),
            _ => path,
        };
        let home = path("HF_HOME").map_or_else(
            || {
                let caches = path("XDG_CACHE_HOME").map(expanded);
                let caches = caches.unwrap_or_else(|| user.clone().unwrap_or_default().join(".cache"));
                caches.join("huggingface")
            },
            expanded,
        );
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")).map(expanded);
        let token_file = path("HF_TOKEN_PATH").map_or_else(|| home.join("token"), expanded);
        let token = if is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            None
        } else {
            let named = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN"));
            named.or_else(|| {
                let kept = fs::read_to_string(token_file).ok()?.trim().to_owned();
                (!kept.is_empty()).then_some(kept)
            })
        };
        Self {
            endpoint: text("HF_ENDPOINT").unwrap_or_else(|| HUGGING_FACE.into()).trim_end_matches('/').to_owned(),
            cache: cache.unwrap_or_else(|| home.join("hub")),
            token,
            offline: is_true("HF_HUB_OFFLINE") || is_true("TRANSFORMERS_OFFLINE"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HUGGING_FACE, Settings};
    use std::path::Path;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        Settings::read(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn the_cache_is_found_as_huggingface_hub_finds_it() {
        let cache = |variables: &[(&str, &str)]| settings(variables).cache;
        assert_eq!(cache(&[("HOME", "/u")]), Path::new("/u/.cache/huggingface/hub"));
        assert_eq!(cache(&[("HOME", "/u"), ("XDG_CACHE_HOME", "/c")]), Path::new("/c/huggingface/hub"));
        assert_eq!(cache(&[("HOME", "/u"), ("HF_HOME", "~/hf")]), Path::new("/u/hf/hub"));
        assert_eq!(cache(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/models")]), Path::new("/models"));
    }

    #[test]
    fn the_token_of_the_environment_comes_before_the_file() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "kept\n").unwrap();
        let home = home.path().to_str().unwrap();
        assert_eq!(settings(&[("HF_HOME", home)]).token.as_deref(), Some("kept"));
        assert_eq!(settings(&[("HF_HOME", home), ("HF_TOKEN", " named ")]).token.as_deref(), Some("named"));
        assert_eq!(settings(&[("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).token, None);
        assert_eq!(settings(&[("HF_HOME", "/nowhere")]).token, None);
    }

    #[test]
    fn endpoint_and_offline() {
        let plain = settings(&[]);
        assert_eq!((plain.endpoint.as_str(), plain.offline), (HUGGING_FACE, false));
        let mirror = settings(&[("HF_ENDPOINT", "http://127.0.0.1:8000/"), ("HF_HUB_OFFLINE", "true")]);
        assert_eq!((mirror.endpoint.as_str(), mirror.offline), ("http://127.0.0.1:8000", true));
        assert!(!settings(&[("HF_HUB_OFFLINE", "0")]).offline);
        assert!(settings(&[("TRANSFORMERS_OFFLINE", "1")]).offline);
    }
}
