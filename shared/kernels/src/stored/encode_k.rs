//! Encoding into GGML's blocks of 256 elements: for each group several steps near the plain one are tried, the scale (and
//! minimum) is fitted to the levels by weighted least squares, and the fit with the smallest error stays.

use super::encode::put_half;

/// Scale and minimum of one group of 32: `x ≈ scale · level − minimum`, both not negative.
fn fit_with_minimum(x: &[f32], top: u8, steps: (f32, f32, usize)) -> (f32, f32) {
    let top = f32::from(top);
    let mean_square = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
    let weights: Vec<f32> = x.iter().map(|x| mean_square.sqrt() + x.abs()).collect();
    let lowest = x.iter().copied().fold(0.0, f32::min);
    let highest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if highest <= lowest {
        return (0.0, -lowest);
    }
    let level = |x: f32, inverse: f32| ((x - lowest) * inverse).round_ties_even().clamp(0.0, top);
    let error = |scale: f32, offset: f32, inverse: f32| -> f32 {
        x.iter().zip(&weights).map(|(&x, w)| w * (scale * level(x, inverse) + offset - x).powi(2)).sum()
    };
    let plain = top / (highest - lowest);
    let mut best = (1.0 / plain, lowest);
    let mut smallest = error(best.0, best.1, plain);
    let (first, step, count) = steps;
    for index in 0..=count {
        let inverse = (first + step * index as f32 + top) / (highest - lowest);
        let (mut w, mut wx, mut wl, mut wll, mut wxl) = (0.0f32, 0.0f32, 0.0f32, 0.0f32, 0.0f32);
        for (&x, &weight) in x.iter().zip(&weights) {
            let level = level(x, inverse);
            w += weight;
            wx += weight * x;
            wl += weight * level;
            wll += weight * level * level;
            wxl += weight * x * level;
        }
        let determinant = w * wll - wl * wl;
        if determinant <= 0.0 {
            continue;
        }
        let (mut scale, mut offset) = ((w * wxl - wx * wl) / determinant, (wll * wx - wl * wxl) / determinant);
        if offset > 0.0 {
            (scale, offset) = (wxl / wll, 0.0);
        }
        let found = error(scale, offset, inverse);
        if found < smallest {
            (best, smallest) = ((scale, offset), found);
        }
    }
    (best.0, -best.1)
}

/// Scale of one group of 16 around zero: `x ≈ scale · level` with levels from `-middle` to `middle − 1`.
fn fit_around_zero(x: &[f32], middle: f32) -> f32 {
    let largest = x.iter().fold(0.0f32, |largest, x| if x.abs() > largest.abs() { *x } else { largest });
    if largest.abs() < 1e-15 {
        return 0.0;
    }
    let mut best: Option<(f32, f32)> = None;
    for step in -9i8..=9 {
        let inverse = -(middle + 0.1 * f32::from(step)) / largest;
        let (mut wxl, mut wll) = (0.0f32, 0.0f32);
        for &x in x {
            let level = (x * inverse).round_ties_even().clamp(-middle, middle - 1.0);
            wxl += x * x * x * level;
            wll += x * x * level * level;
        }
        // The squared error that the best scale for these levels removes.
        let removed = if wll > 0.0 { wxl * wxl / wll } else { 0.0 };
        if wll > 0.0 && best.is_none_or(|(_, most)| removed > most) {
            best = Some((wxl / wll, removed));
        }
    }
    best.map_or(0.0, |(scale, _)| scale)
}

/// Scales and minima as 6-bit levels of the block's own, into the first sixteen bytes; then the level of each element.
fn grouped(x: &[f32], out: &mut [u8], top: u8, steps: (f32, f32, usize)) -> [u8; 256] {
    let fits: Vec<(f32, f32)> = x.chunks_exact(32).map(|group| fit_with_minimum(group, top, steps)).collect();
    let largest = |pick: fn(&(f32, f32)) -> f32| fits.iter().map(pick).fold(0.0, f32::max);
    let (largest_scale, largest_minimum) = (largest(|fit| fit.0), largest(|fit| fit.1));
    let scale = put_half(out, 0, largest_scale / 63.0);
    let minimum = put_half(out, 2, largest_minimum / 63.0);
    let sixth = |value: f32, largest: f32| {
        if largest > 0.0 { (63.0 / largest * value).round_ties_even().clamp(0.0, 63.0) as u8 } else { 0 }
    };
    let mut levels = [0; 256];
    for (group, (&(s, m), x)) in fits.iter().zip(x.chunks_exact(32)).enumerate() {
        let (s, m) = (sixth(s, largest_scale), sixth(m, largest_minimum));
        if group < 4 {
            out[4 + group] |= s;
            out[8 + group] |= m;
        } else {
            out[12 + group - 4] = s & 15 | m << 4;
            out[4 + group - 4] |= s >> 4 << 6;
            out[8 + group - 4] |= m >> 4 << 6;
        }
        let (d, m) = (scale * f32::from(s), minimum * f32::from(m));
        for (level, &x) in levels[group * 32..].iter_mut().zip(x) {
            *level = if d == 0.0 { 0 } else { ((x + m) / d).round_ties_even().clamp(0.0, f32::from(top)) as u8 };
        }
    }
    levels
}

pub(super) fn q4_k(x: &[f32], out: &mut [u8]) {
    let levels = grouped(x, out, 15, (-1.0, 0.1, 20));
    for (out, pair) in out[16..].chunks_exact_mut(32).zip(levels.chunks_exact(64)) {
        for i in 0..32 {
            out[i] = pair[i] | pair[32 + i] << 4;
        }
    }
}

pub(super) fn q5_k(x: &[f32], out: &mut [u8]) {
    let levels = grouped(x, out, 31, (-0.5, 0.1, 15));
    let (high, low) = out[16..].split_at_mut(32);
    for (group, levels) in levels.chunks_exact(32).enumerate() {
        for i in 0..32 {
            low[group / 2 * 32 + i] |= (levels[i] & 15) << (group % 2 * 4);
            high[i] |= levels[i] >> 4 << group;
        }
    }
}

pub(super) fn q6_k(x: &[f32], out: &mut [u8]) {
    let scales: Vec<f32> = x.chunks_exact(16).map(|group| fit_around_zero(group, 32.0)).collect();
    let largest = scales.iter().fold(0.0f32, |largest, s| if s.abs() > largest.abs() { *s } else { largest });
    if largest.abs() < 1e-15 {
        return;
    }
    let inverse = -128.0 / largest;
    let scale = put_half(out, 208, 1.0 / inverse);
    let mut levels = [0u8; 256];
    for (group, x) in x.chunks_exact(16).enumerate() {
        let eighth = (inverse * scales[group]).round_ties_even().clamp(-128.0, 127.0) as i8;
        out[192 + group] = eighth.cast_unsigned();
        let d = scale * f32::from(eighth);
        for (level, &x) in levels[group * 16..].iter_mut().zip(x) {
            let nearest = if d == 0.0 { 0.0 } else { (x / d).round_ties_even().clamp(-32.0, 31.0) };
            *level = (nearest + 32.0) as u8;
        }
    }
    for (group, levels) in levels.chunks_exact(32).enumerate() {
        let (part, quarter) = (group / 4, group % 4);
        for i in 0..32 {
            out[part * 64 + quarter % 2 * 32 + i] |= (levels[i] & 15) << (quarter / 2 * 4);
            out[128 + part * 32 + i] |= levels[i] >> 4 << (quarter * 2);
        }
    }
}
