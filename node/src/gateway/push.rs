//! `PUT|POST /live/{manifestID}[/..]/{seq}.{ts|mp4}`: a segment in, its renditions out.
//!
//! Statuses, headers and replies are go-livepeer's (`server/mediaserver.go`,
//! `HandlePush`). Everything that can be refused before the body is read, is.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use livepeer_media::Profile;

use super::App;
use super::body::{self, BodyError};
use super::check;
use super::client_ip::{self, Peer};
use super::config_header::{self, StreamConfig};
use super::duration;
use super::metrics::Outcome;
use super::multipart::{self, Part};
use super::path::{self, PushPath};
use super::profiles;
use super::refusal::Refusal;
use super::segment::{self, Pushed};
use super::stream::{Stream, StreamStart};
use super::streams::Entrance;
use crate::body::Buffer;

/// What the head of a push says.
#[derive(Debug)]
struct Head {
    path: PushPath,
    config: StreamConfig,
    /// `None` when the client did not say.
    duration_ms: Option<u32>,
    slice: Option<(u64, u64)>,
    resolution: Option<(u32, u32)>,
    multipart: bool,
    length: Option<u64>,
}

/// The route's handler.
pub(super) async fn push(
    State(app): State<Arc<App>>,
    Path(path): Path<String>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let (parts, mut body) = request.into_parts();
    let client_ip = client_ip::of(&parts.headers, peer);
    let admitted = admit(&app, &parts.method, &path, &parts.headers).await;
    let untouched = admitted.is_err();
    let whole = match admitted {
        Ok(admitted) => receive(&app, admitted, &mut body).await,
        Err(refusal) => Err(refusal),
    };
    match whole {
        Ok(whole) => {
            // a task of its own: the segment is wanted by viewers, whether its client waits
            // for the reply or not
            let work = answer(Arc::clone(&app), path, whole, client_ip);
            app.tasks.spawn(work).await.unwrap_or_else(|error| {
                tracing::error!(%error, "a segment's task failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "internal error").into_response()
            })
        }
        Err(refusal) => {
            app.refused.log(&path, client_ip, &refusal);
            // who waits to be asked for the body has not sent it, and need not
            if !(untouched && parts.headers.contains_key(header::EXPECT)) {
                body::discard(body).await;
            }
            refusal.into_response()
        }
    }
}

/// The reply to a push whose body is here.
async fn answer(app: Arc<App>, path: String, whole: Whole, client_ip: IpAddr) -> Response {
    serve(&app, whole, client_ip)
        .await
        .unwrap_or_else(|refusal| {
            app.refused.log(&path, client_ip, &refusal);
            refusal.into_response()
        })
}

/// A push whose body may come.
struct Admitted {
    head: Head,
    entrance: Entrance,
    room: Buffer,
}

/// A push whose body has come.
struct Whole {
    head: Head,
    entrance: Entrance,
    data: Bytes,
    hash: [u8; 32],
}

/// All checks that need no body, in go-livepeer's order.
async fn admit(
    app: &App,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<Admitted, Refusal> {
    if method != Method::PUT && method != Method::POST {
        return Err(Refusal::method(path));
    }
    let authorization = headers.get(header::AUTHORIZATION);
    app.token
        .check(authorization.map(|value| value.as_bytes()))
        .await?;
    let head = parse_head(path, headers)?;
    let max_streams = app.settings.borrow().gateway.max_streams;
    let entrance = app.streams.enter(&head.path.manifest_id, max_streams)?;
    let room = body::room(head.length, entrance.budget()).inspect_err(|error| count(app, error))?;
    Ok(Admitted {
        head,
        entrance,
        room,
    })
}

fn count(app: &App, error: &BodyError) {
    if matches!(error, BodyError::Budget) {
        app.metrics.over_budget.inc();
    }
}

/// Reads the head. Pure.
fn parse_head(path: &str, headers: &HeaderMap) -> Result<Head, Refusal> {
    let config = match headers.get(config_header::HEADER) {
        Some(value) => config_header::parse(value.as_bytes())?,
        None => StreamConfig {
            timeout_multiplier: 1,
            ..StreamConfig::default()
        },
    };
    let mut path = path::parse(&format!("/live/{path}"))?;
    if let Some(id) = &config.manifest_id {
        path.manifest_id = path::manifest_id(id);
        if !path::is_valid_manifest_id(&path.manifest_id) {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "Bad URL"));
        }
    }
    Ok(Head {
        slice: parse_slice(headers)?,
        duration_ms: duration::parse(text(headers, "content-duration"))?,
        resolution: text(headers, "content-resolution").and_then(parse_resolution),
        multipart: text(headers, header::ACCEPT.as_str()) == Some(multipart::ACCEPT),
        length: text(headers, header::CONTENT_LENGTH.as_str()).and_then(|text| text.parse().ok()),
        path,
        config,
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The window that `Content-Slice-From` and `-To` ask for.
fn parse_slice(headers: &HeaderMap) -> Result<Option<(u64, u64)>, Refusal> {
    let bad = || Refusal::new(StatusCode::BAD_REQUEST, "Invalid slice parameters");
    let read = |name| match text(headers, name) {
        Some(text) => text.parse::<u64>().map_err(|_| bad()),
        None => Ok(0),
    };
    let (from, to) = (read("content-slice-from")?, read("content-slice-to")?);
    if from > 0 && to > 0 && from > to {
        return Err(bad());
    }
    Ok((from > 0 || to > 0).then_some((from, to)))
}

fn parse_resolution(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.split_once('x')?;
    let size = (width.parse().ok()?, height.parse().ok()?);
    (size.0 > 0 && size.1 > 0).then_some(size)
}

/// Reads the body.
async fn receive(app: &App, admitted: Admitted, body: &mut Body) -> Result<Whole, Refusal> {
    let Admitted {
        head,
        entrance,
        room,
    } = admitted;
    let read = body::read(body, room)
        .await
        .inspect_err(|error| count(app, error))?;
    app.metrics.received.inc();
    app.metrics.received_bytes.inc_by(read.data.len() as u64);
    Ok(Whole {
        head,
        entrance,
        data: read.data,
        hash: read.hash,
    })
}

/// Checks the segment, has it transcoded, answers.
async fn serve(app: &Arc<App>, whole: Whole, client_ip: IpAddr) -> Result<Response, Refusal> {
    let Whole {
        head,
        entrance,
        data,
        hash,
    } = whole;
    let profiles = wanted_profiles(app, &head)?;

    let probing = tokio::time::Instant::now();
    let probe = check::check(&app.engine, &head.path.manifest_id, data.clone())
        .await
        .map_err(|error| {
            app.metrics.ended(Outcome::Refused);
            Refusal::untranscodable(&error.0)
        })?;
    app.metrics
        .probe_seconds
        .observe(probing.elapsed().as_secs_f64());

    let stream = app.streams.open(
        &entrance,
        StreamStart {
            manifest_id: head.path.manifest_id.clone(),
            client_ip,
            profiles,
            format: head.path.format,
            timeout_multiplier: head.config.timeout_multiplier,
            resolution: head.resolution,
        },
    );
    let pushed = Pushed {
        seq: head.path.seq,
        client_ip,
        data,
        hash,
        duration_ms: duration::told_ms(head.duration_ms, probe.as_ref()),
        probe,
        slice: head.slice,
        reinit: head.config.force_session_reinit,
    };
    let renditions = segment::process(app, &stream, pushed, entrance).await?;
    Ok(reply(&stream, head.path.seq, renditions, head.multipart))
}

/// Of the header, or else of the settings.
fn wanted_profiles(app: &App, head: &Head) -> Result<Vec<Profile>, Refusal> {
    let broken = |text: String| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, text);
    let profiles = match &head.config.profiles {
        Some(profiles) => profiles.clone(),
        None => {
            let settings = app.settings.borrow().gateway.profiles.clone();
            let read = settings.iter().map(profiles::from_settings);
            read.collect::<Result<_, _>>()
                .map_err(|error| broken(error.to_string()))?
        }
    };
    let mut names: Vec<&str> = profiles
        .iter()
        .map(|profile| profile.name.as_str())
        .collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(broken(format!("profile `{}` is there twice", twice[0])));
    }
    livepeer_media::profile::validate_all(&profiles)
        .map_err(|error| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))?;
    Ok(profiles)
}

/// 200: the renditions if the client asked for them in the one accepted spelling.
fn reply(stream: &Stream, seq: u64, renditions: Vec<Bytes>, multipart: bool) -> Response {
    if !multipart || renditions.is_empty() {
        // a type even on an empty reply: go-livepeer's stream tester insists on one
        let content_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        return (StatusCode::OK, content_type, Body::empty()).into_response();
    }
    let parts = stream
        .profiles
        .iter()
        .zip(renditions)
        .map(|(profile, data)| Part {
            name: profile.name.clone(),
            format: profile.format,
            data,
        });
    let boundary = multipart::boundary();
    let chunks = multipart::encode(&boundary, seq, parts.collect());
    let chunks = chunks.into_iter().map(Ok::<_, std::convert::Infallible>);
    let body = Body::from_stream(futures::stream::iter(chunks));
    let content_type = [(header::CONTENT_TYPE, multipart::content_type(&boundary))];
    (StatusCode::OK, content_type, body).into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    use super::parse_head;

    fn head(path: &str, headers: &[(&str, &str)]) -> Result<super::Head, (u16, String)> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.insert(name, HeaderValue::from_str(value).unwrap());
        }
        parse_head(path, &map).map_err(|refusal| (refusal.status.as_u16(), refusal.text))
    }

    fn refused(path: &str, name: &str, value: &str) -> (u16, String) {
        head(path, &[(name, value)]).unwrap_err()
    }

    #[test]
    fn a_duration_that_no_segment_has_is_refused() {
        let got = head("a/0.ts", &[("Content-Duration", "1960")]).unwrap();
        assert_eq!(got.duration_ms, Some(1960));
        let expected = (500, "invalid duration".to_owned());
        assert_eq!(refused("a/0.ts", "Content-Duration", "300001"), expected);
    }

    // server/push_test.go: Slice 400, SlicePass
    #[test]
    fn a_slice_ends_after_it_begins() {
        let slice = |from, to| {
            let headers = [("Content-Slice-From", from), ("Content-Slice-To", to)];
            head("a/0.ts", &headers)
                .map(|head| head.slice)
                .map_err(|error| error.0)
        };
        assert_eq!(slice("1000", "2000"), Ok(Some((1000, 2000))));
        assert_eq!(slice("1000", "0"), Ok(Some((1000, 0))));
        assert_eq!(slice("0", "0"), Ok(None));
        assert_eq!(slice("2000", "1000"), Err(400));
        assert_eq!(slice("x", "1000"), Err(400));
    }

    #[test]
    fn only_the_exact_accept_asks_for_renditions() {
        let multipart = |accept| head("a/0.ts", &[("Accept", accept)]).unwrap().multipart;
        assert!(multipart("multipart/mixed"));
        assert!(!multipart("multipart/mixed, */*") && !multipart("*/*"));
    }

    #[test]
    fn the_headers_id_wins_over_the_paths() {
        let config = r#"{"manifestID":"other"}"#;
        let got = head("a/5.ts", &[("Livepeer-Transcode-Configuration", config)]).unwrap();
        assert_eq!((got.path.manifest_id.as_str(), got.path.seq), ("other", 5));
        let bad = refused("a/5.ts", "Livepeer-Transcode-Configuration", "{");
        assert_eq!(bad.0, 400);
        let gop = r#"{"profiles":[{"gop":"x"}]}"#;
        assert_eq!(
            refused("a/5.ts", "Livepeer-Transcode-Configuration", gop).0,
            500
        );
    }

    #[test]
    fn a_resolution_is_two_numbers_or_nothing() {
        let size = |text| {
            head("a/0.ts", &[("Content-Resolution", text)])
                .unwrap()
                .resolution
        };
        assert_eq!(size("1280x720"), Some((1280, 720)));
        assert_eq!((size("0x0"), size("1280"), size("axb")), (None, None, None));
    }
}
