//! Numbers as people read them.

/// `1234567` as `1,234,567`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with four significant digits or so: `2.718`, `27.18`, `0.0027`; a dash where it is not a number.
pub fn decimal(value: f64) -> String {
    let size = value.abs();
    let digits = match size {
        _ if !value.is_finite() => return "–".to_owned(),
        // Beyond what 64 bits hold a cast would stay at their end and show a figure that is none.
        _ if size >= 1e12 => format!("{size:.3e}"),
        _ if size >= 1000.0 => count(size.round() as u64),
        _ if size >= 100.0 => format!("{size:.1}"),
        _ if size >= 10.0 => format!("{size:.2}"),
        _ if size >= 0.1 || size == 0.0 => format!("{size:.3}"),
        _ if size >= 0.0001 => format!("{size:.4}"),
        _ => format!("{size:.1e}"),
    };
    if value < 0.0 { format!("−{digits}") } else { digits }
}

/// A difference with its sign: `+0.125`, `−1.500`, `±0`.
pub fn signed(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    match decimal(value.abs()) {
        text if text.chars().all(|character| matches!(character, '0' | '.')) => "±0".to_owned(),
        text if value < 0.0 => format!("−{text}"),
        text => format!("+{text}"),
    }
}

/// A share as a percentage: `0.935` as `93.5 %`.
pub fn percentage(share: f64) -> String {
    if share.is_finite() { format!("{:.1} %", 100.0 * share) } else { "–".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([count(0), count(999), count(1_234_567)], ["0", "999", "1,234,567"]);
        assert_eq!(
            [decimal(1.23456), decimal(12.3456), decimal(0.0027), decimal(f64::NAN)],
            ["1.235", "12.35", "0.0027", "–"]
        );
        assert_eq!([signed(0.125), signed(-1.5), signed(0.0)], ["+0.125", "−1.500", "±0"]);
        assert_eq!([decimal(3.2e45), signed(-3.2e45)], ["3.200e45", "−3.200e45"]);
        assert_eq!([decimal(-0.5), decimal(-12.0), decimal(-2000.0)], ["−0.500", "−12.00", "−2,000"]);
        assert_eq!(percentage(0.935), "93.5 %");
    }
}
