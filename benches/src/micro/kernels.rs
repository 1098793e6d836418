//! Cycles per byte of every kernel on each instruction set, one row and four rows a call, beside `simsimd`.
//!
//! Rows lie in the first-level cache and begin at a cache line. The least time of the rounds counts: whatever else runs on
//! the machine only adds to it. Cycles come from a loop of known length that is timed in the same rounds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use engram_index::vector::Metric;
use engram_index::vector::codes::simd::{Simd, Work, on_each};
use engram_index::vector::kernel::{Component, Kernel};
use half::{bf16, f16};
use serde_json::{Map, Value, json};
use simsimd::{BinarySimilarity, SpatialSimilarity};

use super::Args;
use crate::data::metric_name;
use crate::noise::Noise;
use crate::report::Report;

/// Few enough for 32 KiB, with 784 components of f32.
const ROWS: usize = 8;
/// Passes over them in one round.
const PASSES: usize = 50;
/// Steps of the loop that tells the clock, of [`STEP_CYCLES`] each.
const STEPS: u32 = 50_000;
/// A multiplication and an exclusive or, each waiting for the other: 3 and 1 cycles on every x86-64 of the last ten years.
const STEP_CYCLES: u32 = 4;
/// What `simsimd` does, among the names of instruction sets.
const THEIRS: &str = "simsimd";

pub(super) fn run(args: &Args, report: &mut Report) -> Result<()> {
    report.section("cycles per byte of a row in the first-level cache, one row a call / four rows a call");
    for metric in [Metric::Dot, Metric::Euclid, Metric::Manhattan] {
        for dimension in [128, 384, 784] {
            let of = (metric, dimension);
            floats(args, report, "f32", of, (|x| x, |x| x))?;
            floats(args, report, "f16", of, (f16::from_f32, |x| simsimd::f16(f16::from_f32(x).to_bits())))?;
            floats(
                args,
                report,
                "bf16",
                of,
                (bf16::from_f32, |x| simsimd::bf16(bf16::from_f32(x).to_bits())),
            )?;
        }
    }
    for code in [Code::Bytes, Code::Nibbles, Code::Hamming, Code::Planes] {
        for components in [128, 384, 832] {
            codes(args, report, code, components)?;
        }
    }
    Ok(())
}

/// Rounds a component to the type it is stored in.
type Round<T> = fn(f32) -> T;
/// A distance of `simsimd`.
type Theirs<U> = fn(&[U], &[U]) -> Option<f64>;

/// The least time of each thing that was timed.
#[derive(Default)]
struct Times {
    /// Seconds a cycle.
    cycle: Option<f64>,
    /// By name: seconds a pass, one row and four rows a call.
    passes: Vec<(&'static str, [Option<f64>; 2])>,
}

fn least(a: Option<f64>, b: f64) -> Option<f64> {
    Some(a.map_or(b, |a| a.min(b)))
}

impl Times {
    /// Does `round` as often as wanted, and the loop that tells the clock before each.
    fn of(args: &Args, mut round: impl FnMut(&mut Self)) -> Self {
        let mut times = Self::default();
        for _ in 0..=args.rounds {
            let cycles = f64::from(STEPS * STEP_CYCLES);
            times.cycle = least(times.cycle, clock().as_secs_f64() / cycles);
            round(&mut times);
        }
        times
    }

    fn note(&mut self, name: &'static str, four: bool, time: Duration) {
        let at = self.passes.iter().position(|p| p.0 == name).unwrap_or_else(|| {
            self.passes.push((name, [None; 2]));
            self.passes.len() - 1
        });
        let slot = &mut self.passes[at].1[usize::from(four)];
        *slot = least(*slot, time.as_secs_f64() / PASSES as f64);
    }

    /// A line of the report; `bytes` is the size of a row.
    fn add(&self, report: &mut Report, name: &str, components: usize, bytes: usize) {
        let unit = self.cycle.unwrap_or(f64::NAN) * (ROWS * bytes) as f64;
        let mut text = Vec::new();
        let mut value = Map::new();
        for (name, times) in &self.passes {
            let all: Vec<f64> = times.iter().flatten().map(|time| time / unit).collect();
            let shown: Vec<String> = all.iter().map(|cycles| format!("{cycles:.3}")).collect();
            text.push(format!("{name} {}", shown.join(" / ")));
            value.insert((*name).to_owned(), json!(all));
        }
        if let Some(ratios) = self.ratios() {
            text.push(format!("ratio {:.2} / {:.2}", ratios[0], ratios[1]));
            value.insert("ratio".to_owned(), json!(ratios));
        }
        let clock = 1e-9 / self.cycle.unwrap_or(f64::NAN);
        text.push(format!("at {clock:.2} GHz"));
        value.insert("ghz".to_owned(), json!(clock));
        let key = format!("cycles_{}_{components}", name.replace(' ', "_"));
        report.add(&key, &format!("{name} {components}, {bytes} bytes"), text.join(", "), Value::from(value));
    }

    /// The best instruction set, which is the last of ours, against `simsimd`: below 1 where ours is faster.
    fn ratios(&self) -> Option<[f64; 2]> {
        let theirs = self.passes.iter().find(|p| p.0 == THEIRS)?.1[0]?;
        let [one, four] = self.passes.iter().rfind(|p| p.0 != THEIRS)?.1;
        Some([one? / theirs, four? / theirs])
    }
}

fn clock() -> Duration {
    let mut x = black_box(1u64);
    let start = Instant::now();
    for _ in 0..STEPS {
        x = x.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x94D0_49BB;
    }
    black_box(x);
    start.elapsed()
}

/// Memory that begins at a cache line.
struct Row<T> {
    memory: Vec<T>,
    start: usize,
}

impl<T: Copy> Row<T> {
    fn new(content: impl ExactSizeIterator<Item = T>, filler: T) -> Self {
        let mut memory = vec![filler; content.len() + 64 / size_of::<T>()];
        let start = memory.as_ptr().align_offset(64);
        memory.truncate(start);
        memory.extend(content);
        Self { memory, start }
    }

    fn get(&self) -> &[T] {
        &self.memory[self.start..]
    }
}

fn rows<T: Copy>(each: usize, filler: T, mut next: impl FnMut() -> T) -> Vec<Row<T>> {
    (0..ROWS).map(|_| Row::new((0..each).map(|_| next()), filler)).collect()
}

/// Row by row, or four at a time: seconds of all passes.
fn passes<'a, R, T>(rows: &'a [R], get: impl Fn(&'a R) -> T, mut one: impl FnMut(T)) -> Duration {
    let start = Instant::now();
    for _ in 0..PASSES {
        for row in rows {
            one(get(row));
        }
    }
    start.elapsed()
}

fn floats<T: Component, U: SpatialSimilarity + Copy>(
    args: &Args,
    report: &mut Report,
    name: &str,
    (metric, dimension): (Metric, usize),
    (ours, theirs): (Round<T>, Round<U>),
) -> Result<()> {
    let mut noise = Noise::new(dimension as u64);
    let query = Row::new(noise.vector(dimension).into_iter(), 0.0);
    let their_query = Row::new(query.get().iter().map(|&x| theirs(x)), theirs(0.0));
    let stored = rows(dimension, ours(0.0), || ours(noise.component()));
    let fours: Vec<[&[T]; 4]> =
        stored.as_chunks().0.iter().map(|four| four.each_ref().map(Row::get)).collect();
    let their_rows = rows(dimension, theirs(0.0), || theirs(noise.component()));
    let other: Option<Theirs<U>> = match metric {
        Metric::Cosine | Metric::Dot => Some(U::dot),
        Metric::Euclid => Some(U::sqeuclidean),
        Metric::Manhattan => None,
    };
    let kernels = Kernel::<T>::each(metric);
    let times = Times::of(args, |times| {
        for (name, kernel) in &kernels {
            let query = black_box(query.get());
            let one = passes(&stored, Row::get, |row| _ = black_box(kernel.distance(query, row)));
            let four = passes(&fours, |four| *four, |four| _ = black_box(kernel.distance4(query, four)));
            times.note(name, false, one);
            times.note(name, true, four);
        }
        if let Some(other) = other {
            let query = black_box(their_query.get());
            times.note(THEIRS, false, passes(&their_rows, Row::get, |row| _ = black_box(other(query, row))));
        }
    });
    times.add(report, &format!("{name} {}", metric_name(metric)), dimension, dimension * size_of::<T>());
    Ok(())
}

/// What is done with codes.
#[derive(Clone, Copy, PartialEq)]
enum Code {
    /// 8 bits against 8 bits.
    Bytes,
    /// 4 bits against 8 bits.
    Nibbles,
    /// 1 bit against 1 bit.
    Hamming,
    /// 1 bit against 4 bits.
    Planes,
}

impl Code {
    fn name(self) -> &'static str {
        match self {
            Self::Bytes => "int8",
            Self::Nibbles => "int4 by int8",
            Self::Hamming => "1 bit hamming",
            Self::Planes => "1 bit by 4 bits",
        }
    }

    fn bytes(self, components: usize) -> usize {
        match self {
            Self::Bytes => components,
            Self::Nibbles => components / 2,
            Self::Hamming | Self::Planes => components / 8,
        }
    }
}

/// All passes over some codes. The kernels must be inlined, so that there is no closure here, which would not be compiled
/// for the instruction set.
#[derive(Clone)]
struct Passes<'a> {
    code: Code,
    four: bool,
    rows: &'a [Row<u8>],
    steps: &'a [i8],
    /// A query of bits, and the planes of one.
    planes: [&'a [u8]; 4],
}

impl Work for Passes<'_> {
    type Output = Duration;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Duration {
        let Self { code, four, rows, steps, planes } = self;
        let start = Instant::now();
        for _ in 0..PASSES {
            if four {
                for four in rows.as_chunks::<4>().0 {
                    let four = black_box([four[0].get(), four[1].get(), four[2].get(), four[3].get()]);
                    match code {
                        Code::Bytes => _ = black_box(simd.dot4(four, steps)),
                        Code::Nibbles => _ = black_box(simd.dot_nibbles4(four, steps)),
                        Code::Hamming => _ = black_box(simd.hamming4(four, planes[0])),
                        Code::Planes => _ = black_box(simd.plane_sums4(four, planes)),
                    }
                }
            } else {
                for row in rows {
                    let row = black_box(row.get());
                    match code {
                        Code::Bytes => _ = black_box(simd.dot(row, steps)),
                        Code::Nibbles => _ = black_box(simd.dot_nibbles(row, steps)),
                        Code::Hamming => _ = black_box(simd.hamming(row, planes[0])),
                        Code::Planes => _ = black_box(simd.plane_sum(row, planes)),
                    }
                }
            }
        }
        start.elapsed()
    }
}

fn codes(args: &Args, report: &mut Report, code: Code, components: usize) -> Result<()> {
    let mut noise = Noise::new(components as u64);
    let mut byte = || noise.next_u64() as u8;
    let bytes = code.bytes(components);
    let stored = rows(bytes, 0, &mut byte);
    let signed = rows(bytes, 0, || byte().cast_signed());
    let steps = Row::new((0..components).map(|_| byte().cast_signed()), 0);
    let planes: [Row<u8>; 4] = std::array::from_fn(|_| Row::new((0..bytes).map(|_| byte()), 0));
    let planes = planes.each_ref().map(Row::get);
    let times = Times::of(args, |times| {
        for four in [false, true] {
            let work = Passes { code, four, rows: &stored, steps: steps.get(), planes };
            for (name, time) in on_each(&work) {
                times.note(name, four, time);
            }
        }
        let theirs = match code {
            Code::Bytes => passes(&signed, Row::get, |row| _ = black_box(i8::dot(row, steps.get()))),
            Code::Hamming => passes(&stored, Row::get, |row| _ = black_box(u8::hamming(row, planes[0]))),
            Code::Nibbles | Code::Planes => return,
        };
        times.note(THEIRS, false, theirs);
    });
    times.add(report, code.name(), components, bytes);
    Ok(())
}
