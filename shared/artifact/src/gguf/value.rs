//! Metadata of a GGUF file: keys and typed values, in the order of the file.

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum GgufValue {
    /// Unsigned, 8 bits.
    U8(u8),
    /// Signed, 8 bits.
    I8(i8),
    /// Unsigned, 16 bits.
    U16(u16),
    /// Signed, 16 bits.
    I16(i16),
    /// Unsigned, 32 bits.
    U32(u32),
    /// Signed, 32 bits.
    I32(i32),
    /// Real, 32 bits.
    F32(f32),
    /// True or false.
    Bool(bool),
    /// A text.
    Text(String),
    /// Values of one type.
    Array(Vec<GgufValue>),
    /// Unsigned, 64 bits.
    U64(u64),
    /// Signed, 64 bits.
    I64(i64),
    /// Real, 64 bits.
    F64(f64),
}

impl GgufValue {
    /// The number by which files tell the types apart.
    pub(super) fn kind(&self) -> u32 {
        match self {
            Self::U8(_) => 0,
            Self::I8(_) => 1,
            Self::U16(_) => 2,
            Self::I16(_) => 3,
            Self::U32(_) => 4,
            Self::I32(_) => 5,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::Text(_) => 8,
            Self::Array(_) => 9,
            Self::U64(_) => 10,
            Self::I64(_) => 11,
            Self::F64(_) => 12,
        }
    }

    /// As a whole number that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(value) => Some(value.into()),
            Self::U16(value) => Some(value.into()),
            Self::U32(value) => Some(value.into()),
            Self::U64(value) => Some(value),
            Self::I8(value) => value.try_into().ok(),
            Self::I16(value) => value.try_into().ok(),
            Self::I32(value) => value.try_into().ok(),
            Self::I64(value) => value.try_into().ok(),
            _ => None,
        }
    }

    /// As a whole number.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::I8(value) => Some(value.into()),
            Self::I16(value) => Some(value.into()),
            Self::I32(value) => Some(value.into()),
            Self::I64(value) => Some(value),
            _ => self.as_u64().and_then(|value| value.try_into().ok()),
        }
    }

    /// As a real number.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            // The shortest decimal, so that 1e-5 in 32 bits is 1e-5 in 64.
            Self::F32(value) => value.to_string().parse().ok(),
            Self::F64(value) => Some(value),
            _ => self.as_i64().map(|value| value as f64),
        }
    }

    /// As true or false.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// As a text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// As a list.
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }
}

impl From<&str> for GgufValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u32> for GgufValue {
    fn from(value: u32) -> Self {
        Self::U32(value)
    }
}

impl From<f32> for GgufValue {
    fn from(value: f32) -> Self {
        Self::F32(value)
    }
}

impl From<bool> for GgufValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// Keys and values in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata(pub Vec<(String, GgufValue)>);

impl Metadata {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&GgufValue> {
        self.0.iter().find(|(found, _)| found == key).map(|(_, value)| value)
    }

    /// Adds a key at the end.
    pub fn push(&mut self, key: impl Into<String>, value: impl Into<GgufValue>) {
        self.0.push((key.into(), value.into()));
    }
}
