//! The settings of an adapter, in the words of PEFT's `adapter_config.json`.

/// Settings of a low-rank adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// Rank of the two factors.
    pub r: usize,
    /// The change is scaled by `alpha / r`, or `alpha / √r` with rsLoRA.
    pub alpha: f64,
    /// Probability with which an element of the adapter's input is dropped in training.
    pub dropout: f64,
    /// Which linear layers are adapted.
    pub target_modules: Targets,
    /// Layers left out although they are targeted.
    pub exclude_modules: Option<Targets>,
    /// Only the layers of these numbers; all where empty.
    pub layers_to_transform: Vec<usize>,
    /// Names (regular expressions) of the lists of layers that the numbers count in; any list where empty.
    pub layers_pattern: Vec<String>,
    /// Other ranks for the layers whose name ends in a pattern (a regular expression); the first match in order counts.
    pub rank_pattern: Vec<(String, usize)>,
    /// Other alphas likewise.
    pub alpha_pattern: Vec<(String, f64)>,
    /// Whether the scale is `alpha / √r` (Kalajdzievski 2023, arXiv:2312.03732).
    pub use_rslora: bool,
    /// Whether each output's length is a parameter of its own: DoRA (Liu et al. 2024, arXiv:2402.09353).
    pub use_dora: bool,
    /// Which biases of the base model are trained and stored with the adapter.
    pub bias: Bias,
    /// Whether the second factor has a bias.
    pub lora_bias: bool,
    /// Modules that are trained as a whole and stored with the adapter: those whose name ends in one of these.
    pub modules_to_save: Vec<String>,
    /// Whether a tied output stays tied when the embedding is trained as a whole.
    pub ensure_weight_tying: bool,
    /// First values of a new adapter.
    pub init_lora_weights: InitialWeights,
}

/// A choice of linear layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// Every linear layer but the output.
    AllLinear,
    /// A layer whose full name is listed, or ends in a dot and a listed name.
    Named(Vec<String>),
    /// A layer whose full name matches a regular expression.
    Pattern(String),
}

impl Targets {
    /// From one word of a command line: `all-linear`, names between commas, or, where it has a sign that no name has
    /// (`*+?()[]{}|^$\`), a regular expression for the full name.
    pub fn parse(text: &str) -> Self {
        if text.eq_ignore_ascii_case("all-linear") {
            Self::AllLinear
        } else if text.contains(|sign| "*+?()[]{}|^$\\".contains(sign)) {
            Self::Pattern(text.to_owned())
        } else {
            Self::Named(text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect())
        }
    }
}

impl std::fmt::Display for Targets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AllLinear => f.write_str("all-linear"),
            Self::Named(names) => f.write_str(&names.join(",")),
            Self::Pattern(pattern) => f.write_str(pattern),
        }
    }
}

/// Which biases of the base model train with an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bias {
    /// None of them.
    #[default]
    None,
    /// Every bias of the model, those of norms too.
    All,
    /// Those of the adapted layers.
    LoraOnly,
}

impl Bias {
    /// PEFT's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::All => "all",
            Self::LoraOnly => "lora_only",
        }
    }
}

/// First values of a new adapter, PEFT's `init_lora_weights`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InitialWeights {
    /// `true`: A uniform within `1/√in` (Kaiming with a = √5), B zero.
    #[default]
    Kaiming,
    /// `false`: both uniform, so that the adapter changes the model from the start. For tests.
    Random,
    /// `"gaussian"`: A normal with deviation `1/r`, B zero.
    Gaussian,
    /// `"orthogonal"`: A and B over the odd and the even rows of an orthogonal matrix, so that `B·A` is zero.
    Orthogonal,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            r: 16,
            alpha: 32.0,
            dropout: 0.0,
            target_modules: Targets::AllLinear,
            exclude_modules: None,
            layers_to_transform: Vec::new(),
            layers_pattern: Vec::new(),
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            use_rslora: false,
            use_dora: false,
            bias: Bias::None,
            lora_bias: false,
            modules_to_save: Vec::new(),
            ensure_weight_tying: false,
            init_lora_weights: InitialWeights::Kaiming,
        }
    }
}
