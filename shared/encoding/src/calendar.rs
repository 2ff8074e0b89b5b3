//! `strftime_now` of chat templates, for one fixed day. Templates print today's date into the prompt; a data set must
//! not depend on the day on which it was tokenized, so the day is an option.

use std::fmt::Write;
use std::str::FromStr;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A day of the Gregorian calendar, written `YYYY-MM-DD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    year: u32,
    month: u32,
    day: u32,
}

impl FromStr for Day {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected a day as YYYY-MM-DD, found `{text}`");
        let parts: Vec<u32> = text.split('-').map(str::parse).collect::<Result<_, _>>().map_err(|_| expected())?;
        let [year, month, day] = parts[..] else { return Err(expected()) };
        let valid = (1..=9999).contains(&year) && (1..=12).contains(&month) && day >= 1 && day <= days_in(year, month);
        if valid { Ok(Self { year, month, day }) } else { Err(expected()) }
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl Day {
    /// Python's `strftime` at noon of this day, in the C locale; a directive that is not known stands as it is.
    pub(crate) fn format(self, format: &str) -> String {
        let mut out = String::new();
        let mut characters = format.chars();
        while let Some(character) = characters.next() {
            if character == '%' {
                self.write_directive(&mut out, characters.next());
            } else {
                out.push(character);
            }
        }
        out
    }

    fn write_directive(self, out: &mut String, directive: Option<char>) {
        let Self { year, month, day } = self;
        let month_name = MONTHS[month as usize - 1];
        let weekday_name = WEEKDAYS[self.weekday()];
        // Writing to a String cannot fail.
        let _ = match directive {
            Some('Y') => write!(out, "{year:04}"),
            Some('y') => write!(out, "{:02}", year % 100),
            Some('m') => write!(out, "{month:02}"),
            Some('B') => write!(out, "{month_name}"),
            Some('b' | 'h') => write!(out, "{}", &month_name[..3]),
            Some('d') => write!(out, "{day:02}"),
            Some('e') => write!(out, "{day:2}"),
            Some('j') => write!(out, "{:03}", self.day_of_year()),
            Some('A') => write!(out, "{weekday_name}"),
            Some('a') => write!(out, "{}", &weekday_name[..3]),
            Some('F') => write!(out, "{self}"),
            Some('H' | 'I') => write!(out, "12"),
            Some('M' | 'S') => write!(out, "00"),
            Some('p') => write!(out, "PM"),
            Some('T' | 'X') => write!(out, "12:00:00"),
            Some('%') => write!(out, "%"),
            Some(unknown) => write!(out, "%{unknown}"),
            None => write!(out, "%"),
        };
    }

    fn day_of_year(self) -> u32 {
        (1..self.month).map(|month| days_in(self.year, month)).sum::<u32>() + self.day
    }

    /// Days since Sunday, by Sakamoto's rule.
    fn weekday(self) -> usize {
        const SHIFT: [u32; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
        let year = self.year - u32::from(self.month < 3);
        let days = year + year / 4 + year / 400 + SHIFT[self.month as usize - 1] + self.day;
        ((days - year / 100) % 7) as usize
    }
}

fn days_in(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::Day;

    #[test]
    fn known_days_format_as_in_python() {
        let day: Day = "2024-07-26".parse().unwrap();
        assert_eq!(day.format("%d %b %Y"), "26 Jul 2024");
        assert_eq!(day.format("%A, %B %e, %y (%j) %H:%M%%"), "Friday, July 26, 24 (208) 12:00%");
        assert_eq!("2000-02-29".parse::<Day>().unwrap().format("%a"), "Tue");
    }

    #[test]
    fn impossible_days_are_refused() {
        for text in ["2023-02-29", "2024-13-01", "today", "2024-1", "2024-01-00"] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }
}
