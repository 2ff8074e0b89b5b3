//! Examples that stand out by their losses over training: likely mislabelled, forgotten, too easy.
//!
//! As in dataset cartography (Swayamdipta et al. 2020, <https://arxiv.org/abs/2009.10795>) and in the count of forgetting
//! events (Toneva et al. 2019, <https://arxiv.org/abs/1812.05159>): what stays hard while all else is learnt is often
//! wrong, what was known and is known no more was pushed out, and what costs nothing teaches nothing.

use serde::Serialize;

/// The losses of one example, in nats per trained token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Course {
    /// (step, loss) at each moment it was measured during training, by rising step.
    pub points: Vec<(u64, f64)>,
    /// Under the base, where measured.
    pub baseline: Option<f64>,
    /// Under the result of training, where measured.
    pub tuned: Option<f64>,
}

impl Course {
    fn first(&self) -> Option<f64> {
        self.points.first().map(|(_, loss)| *loss).or(self.baseline)
    }

    fn last(&self) -> Option<f64> {
        self.tuned.or_else(|| self.points.last().map(|(_, loss)| *loss))
    }

    /// The mean loss since learning began, and the share that it is of the loss before.
    ///
    /// The mean and not the end: a model that is large enough learns wrong labels by heart too, only later than others.
    fn level(&self) -> Option<(f64, f64)> {
        let before = self.baseline.or(self.points.first().map(|(_, loss)| *loss))?;
        let skipped = usize::from(self.baseline.is_none() || self.points.len() > 1);
        let after: Vec<f64> = self.points.iter().skip(skipped).map(|(_, loss)| *loss).chain(self.tuned).collect();
        let mean = after.iter().sum::<f64>() / after.len() as f64;
        (!after.is_empty()).then_some((mean, mean / before))
    }
}

/// Why an example stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SuspectReason {
    /// Its loss stays far above that of the others over training, which lowers it less or later.
    LikelyMislabelled,
    /// Its loss was low during training and is high again at the end.
    Forgotten,
    /// Its loss was next to nothing before it was learnt from.
    TooEasy,
}

impl SuspectReason {
    /// The word in tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LikelyMislabelled => "likely_mislabelled",
            Self::Forgotten => "forgotten",
            Self::TooEasy => "too_easy",
        }
    }
}

/// An example that stands out.
#[derive(Debug, Clone, PartialEq)]
pub struct Suspect {
    /// Index of the example.
    pub index: usize,
    /// Why.
    pub reason: SuspectReason,
    /// The figures behind it.
    pub detail: String,
    /// How far it stands out, in nats per token: the list begins with the largest.
    pub excess: f64,
}

/// A loss so small that the model gives each token more than 95 %.
const EASY: f64 = 0.05;
/// A rise over the lowest loss that counts as forgotten, in nats and as a share of the fall before it.
const FORGOTTEN: f64 = 0.25;
const FORGOTTEN_SHARE: f64 = 0.5;
/// Fewer examples than this say nothing of what is usual.
const FEWEST: usize = 8;

/// Looks at the examples of one split; each has at most one reason. The most conspicuous come first, reason by reason.
pub fn find_suspects(courses: &[Course]) -> Vec<Suspect> {
    let usual = Usual::of(courses);
    let mut found: Vec<Suspect> = Vec::new();
    for (index, course) in courses.iter().enumerate() {
        let suspect = forgotten(course).or_else(|| too_easy(course)).or_else(|| mislabelled(course, usual.as_ref()?));
        found.extend(suspect.map(|(reason, detail, excess)| Suspect { index, reason, detail, excess }));
    }
    found.sort_by(|a, b| a.reason.cmp(&b.reason).then(b.excess.total_cmp(&a.excess)).then(a.index.cmp(&b.index)));
    found
}

type Found = Option<(SuspectReason, String, f64)>;

fn forgotten(course: &Course) -> Found {
    let (first, last) = (course.first()?, course.last()?);
    let &(step, lowest) = course.points.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
    let (rise, fall) = (last - lowest, first - lowest);
    let told = rise > FORGOTTEN && rise > FORGOTTEN_SHARE * fall && fall > FORGOTTEN;
    told.then(|| {
        let detail = format!("loss {first:.3} at first, {lowest:.3} at step {step}, {last:.3} at the end");
        (SuspectReason::Forgotten, detail, rise)
    })
}

fn too_easy(course: &Course) -> Found {
    // What was measured later in the run was perhaps learnt from other examples.
    let before = || course.points.first().filter(|(step, _)| *step <= 1).map(|(_, loss)| *loss);
    let first = course.baseline.or_else(before)?;
    (first < EASY).then(|| {
        let detail = format!("loss {first:.4} before training: there is nothing to learn from it");
        (SuspectReason::TooEasy, detail, EASY - first)
    })
}

/// What is usual among the examples of a split.
struct Usual {
    half: f64,
    fence: f64,
    share: f64,
}

impl Usual {
    fn of(courses: &[Course]) -> Option<Self> {
        let (levels, shares): (Vec<f64>, Vec<f64>) = courses.iter().filter_map(Course::level).unzip();
        if levels.len() < FEWEST {
            return None;
        }
        let levels = sorted(levels.into_iter());
        let (quarter, half, three) = (quantile(&levels, 0.25), quantile(&levels, 0.5), quantile(&levels, 0.75));
        // Tukey's outer fence.
        let fence = three + 3.0 * (three - quarter).max(0.05);
        Some(Self { half, fence, share: quantile(&sorted(shares.into_iter()), 0.5) })
    }
}

fn mislabelled(course: &Course, usual: &Usual) -> Found {
    let (level, share) = course.level()?;
    // A row that training lowers like the others may be hard without being wrong: twice the share that is left of the
    // others, or half their fall, whichever is nearer.
    let stuck = share > usual.share + usual.share.min((1.0 - usual.share) / 2.0);
    (level > usual.fence && stuck).then(|| {
        let detail = format!(
            "mean loss {level:.3} over training, {:.1} % of that before; half of the examples are below {:.3} and {:.1} %",
            100.0 * share,
            usual.half,
            100.0 * usual.share
        );
        (SuspectReason::LikelyMislabelled, detail, level - usual.fence)
    })
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * sorted.len().saturating_sub(1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    match (sorted.get(below), sorted.get(above)) {
        (Some(low), Some(high)) => low + (high - low) * position.fract(),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(losses: &[f64]) -> Course {
        let points = losses.iter().enumerate().map(|(i, &loss)| (10 * i as u64, loss)).collect();
        Course { points, ..Course::default() }
    }

    #[test]
    fn each_reason_is_found() {
        let mut courses: Vec<Course> = (0..20).map(|i| course(&[3.0 + 0.01 * f64::from(i), 1.5, 1.0])).collect();
        courses.push(course(&[6.0, 6.1, 5.9]));
        courses.push(course(&[3.0, 0.5, 2.5]));
        courses.push(Course { baseline: Some(0.01), ..course(&[0.01, 0.01]) });
        // Learnt from the others before its turn came.
        courses.push(Course { points: vec![(300, 0.01), (600, 0.01)], ..Course::default() });
        // Hard, but learnt like the others.
        courses.push(course(&[5.0, 3.5, 2.9]));
        let found = find_suspects(&courses);
        let reasons: Vec<_> = found.iter().map(|suspect| (suspect.index, suspect.reason)).collect();
        let expected =
            [(20, SuspectReason::LikelyMislabelled), (21, SuspectReason::Forgotten), (22, SuspectReason::TooEasy)];
        assert_eq!(reasons, expected);
        assert!(found[1].detail.contains("0.500 at step 10"), "{}", found[1].detail);
    }

    #[test]
    fn a_wrong_label_learnt_by_heart_is_found() {
        let mut courses: Vec<Course> =
            (0..40).map(|i| course(&[12.0, 0.4, 0.05 + 0.001 * f64::from(i), 0.01])).collect();
        courses.push(course(&[12.0, 3.1, 1.4, 0.02]));
        let found: Vec<_> =
            find_suspects(&courses).into_iter().map(|suspect| (suspect.index, suspect.reason)).collect();
        assert_eq!(found, [(40, SuspectReason::LikelyMislabelled)]);
    }

    #[test]
    fn what_was_measured_once_is_not_accused() {
        // In an unfinished first epoch the rows learnt from first have the highest losses.
        let once = |step: u64| Course { points: vec![(step, 20.0 / (step + 1) as f64)], ..Course::default() };
        assert!(find_suspects(&(0..40).map(once).collect::<Vec<_>>()).is_empty());
    }

    #[test]
    fn a_few_examples_accuse_nobody() {
        assert!(find_suspects(&[course(&[1.0, 0.5]), course(&[9.0, 9.0])]).is_empty());
        assert!(find_suspects(&[]).is_empty());
    }
}
