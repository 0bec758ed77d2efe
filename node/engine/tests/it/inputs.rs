//! Bad input: each with the text of the wire, and the next good segment works.

use livepeer_media::{Engine, JobError, Profile};

use crate::{clips, engine, job, small};

async fn refused(engine: &Engine, source: &[u8]) -> JobError {
    let error = engine
        .transcode(job(source, vec![small()]))
        .await
        .unwrap_err();
    let good = engine.transcode(job(&clips::plain(), vec![small()])).await;
    assert_eq!(good.unwrap().renditions[0].frames, 50);
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn input_without_pictures_is_refused_with_the_texts_of_the_wire() {
    let engine = engine().await;
    let text = "this is no transport stream. ".repeat(4000);
    let cases: [(Vec<u8>, &str); 5] = [
        (text.into_bytes(), "TranscoderInvalidVideo"),
        (Vec::new(), "TranscoderInvalidVideo"),
        (clips::audio_only(), "TranscoderInvalidVideo"),
        (clips::no_keyframe(), "No keyframes in input"),
        (clips::mpeg2(), "Unsupported input codec"),
    ];
    for (source, text) in cases {
        let error = refused(&engine, &source).await;
        assert_eq!(error.to_string(), text);
        assert!(error.is_input_fault(), "{text}");
    }
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_segment_gives_what_decodes() {
    let engine = engine().await;
    let source = clips::plain();
    let done = engine
        .transcode(job(&source[..source.len() * 6 / 10], vec![small()]))
        .await
        .unwrap();
    assert!(
        (10..50).contains(&done.decoded_frames),
        "{}",
        done.decoded_frames
    );
    assert_eq!(done.renditions[0].frames, done.decoded_frames);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_inside_a_segment_costs_only_what_it_hit() {
    let engine = engine().await;
    let mut source = clips::plain();
    let middle = source.len() / 2;
    source[middle..middle + 4000].fill(0xA5);
    let done = engine.transcode(job(&source, vec![small()])).await.unwrap();
    assert!(done.decoded_frames > 30, "{}", done.decoded_frames);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_no_encoder_can_fill_are_refused() {
    let engine = engine().await;
    let source = clips::plain();
    let eleven = engine
        .transcode(job(&source, vec![small(); 11]))
        .await
        .unwrap_err();
    assert_eq!(eleven.to_string(), "Too many outputs");
    let sizeless = Profile {
        width: 0,
        height: 0,
        ..small()
    };
    let error = engine
        .transcode(job(&source, vec![sizeless]))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "TranscoderInvalidResolution");
    engine.stop().await;
}
