//! SSIM and size of the engine's renditions against the baseline's.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Prints both, and whether the engine keeps what is asked of it.
pub(crate) fn compare(rung: &str, size: (u32, u32), clip: &Path, base: &Path, engine: &Path) {
    let file = format!("{rung}.ts");
    let (base, engine) = (base.join(&file), engine.join(&file));
    let (base_mean, base_worst) = ssim(&base, clip, size);
    let (mean, worst) = ssim(&engine, clip, size);
    #[expect(clippy::cast_precision_loss, reason = "file sizes")]
    let bytes =
        fs::metadata(&engine).unwrap().len() as f64 / fs::metadata(&base).unwrap().len() as f64;
    let kept = mean >= base_mean - 0.001 && worst >= base_worst - 0.005 && bytes <= 1.02;
    println!(
        "{rung}: SSIM {mean:.5} (baseline {base_mean:.5}), worst 5 % {worst:.5} ({base_worst:.5}), bytes {bytes:.3} x{}",
        if kept { "" } else { "  <- outside" }
    );
}

/// Mean SSIM over all frames, and over the worst twentieth.
fn ssim(rendition: &Path, clip: &Path, (width, height): (u32, u32)) -> (f64, f64) {
    let stats = rendition.with_extension("ssim");
    let graph = format!(
        "[0:v]setpts=N[a];[1:v]scale={width}:{height}:flags=bicubic,setpts=N[b];[a][b]ssim=stats_file={}",
        stats.display()
    );
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(rendition)
        .arg("-i")
        .arg(clip)
        .args(["-filter_complex", &graph, "-f", "null", "-"])
        .status()
        .unwrap();
    assert!(status.success());
    let mut frames: Vec<f64> = fs::read_to_string(&stats)
        .unwrap()
        .lines()
        .filter_map(|line| line.split("All:").nth(1)?.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(
        frames.len(),
        750,
        "{} has another number of frames",
        rendition.display()
    );
    frames.sort_by(f64::total_cmp);
    (mean(&frames), mean(&frames[..frames.len() / 20]))
}

#[expect(clippy::cast_precision_loss, reason = "a count of frames")]
fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}
