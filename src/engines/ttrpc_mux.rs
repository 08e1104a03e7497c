//! ttRPC messages over NRI's one connection, which carries two: containerd's calls of the plugin,
//! and the plugin's calls of containerd.
//!
//! Outside are frames: connection and length, four bytes each, big-endian (containerd/nri,
//! pkg/net/multiplex). Put together, the payloads of a connection are a stream of ttRPC messages:
//! length and stream, four bytes each, type, flags, body (containerd/ttrpc, PROTOCOL.md).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// ttRPC's limit on a body.
const MAX_BODY: usize = 4 << 20;
const HEADER: usize = 10;
/// The multiplexer's own limit on a frame.
const MAX_FRAME: usize = HEADER + MAX_BODY;
/// containerd reads the beginning of a message into 4 KiB and gives up the connection where a frame
/// is larger.
const MAX_SENT: usize = 4096;

/// One of the two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// containerd calls, the plugin answers.
    Plugin,
    /// The plugin calls, containerd answers.
    Runtime,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageKind {
    /// Asks for an answer on its stream.
    Request,
    /// Is that answer.
    Response,
}

/// One whole message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The connection it is of.
    pub(crate) line: Line,
    /// What it is.
    pub(crate) kind: MessageKind,
    /// The number that a request has in common with its answer.
    pub(crate) stream: u32,
    /// A protobuf message: `ttrpc.Request` or `ttrpc.Response`.
    pub(crate) body: Vec<u8>,
}

/// A connection to NRI's socket.
#[derive(Debug)]
pub(crate) struct TtrpcMux<S> {
    stream: S,
    /// What has come of each connection and is no whole message yet.
    pending: [Vec<u8>; 2],
}

impl<S: AsyncRead + AsyncWrite + Unpin> TtrpcMux<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            pending: [Vec::new(), Vec::new()],
        }
    }

    /// The next whole message, of either connection.
    ///
    /// # Errors
    /// The connection's end, or bytes that NRI would not send: nothing after them can be
    /// understood.
    pub(crate) async fn next(&mut self) -> io::Result<Message> {
        loop {
            for (line, pending) in [Line::Plugin, Line::Runtime]
                .into_iter()
                .zip(&mut self.pending)
            {
                if let Some(message) = take(line, pending)? {
                    return Ok(message);
                }
            }
            let (line, length) = (self.stream.read_u32().await?, self.stream.read_u32().await?);
            let line = match line {
                1 => Line::Plugin,
                2 => Line::Runtime,
                other => return Err(odd(&format!("a frame of connection {other}"))),
            };
            let whole = usize::try_from(length)
                .ok()
                .filter(|length| (1..=MAX_FRAME).contains(length));
            let whole = whole.ok_or_else(|| odd(&format!("a frame of {length} bytes")))?;
            let [plugin, runtime] = &mut self.pending;
            let pending = if line == Line::Plugin {
                plugin
            } else {
                runtime
            };
            // What is announced takes up no room before it comes.
            if (&mut self.stream)
                .take(length.into())
                .read_to_end(pending)
                .await?
                < whole
            {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Sends one message.
    ///
    /// # Errors
    /// The connection's; or the message is larger than any of ours is.
    pub(crate) async fn send(
        &mut self,
        line: Line,
        kind: MessageKind,
        stream: u32,
        body: &[u8],
    ) -> io::Result<()> {
        let whole = HEADER + body.len();
        if whole > MAX_SENT {
            return Err(odd(&format!("a message of {whole} bytes to be sent")));
        }
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
        let line: u32 = match line {
            Line::Plugin => 1,
            Line::Runtime => 2,
        };
        let kind = match kind {
            MessageKind::Request => 1,
            MessageKind::Response => 2,
        };
        let header = [
            line.to_be_bytes(),
            length(whole),
            length(body.len()),
            stream.to_be_bytes(),
        ]
        .concat();
        self.stream
            .write_all(&[&header, &[kind, 0][..], body].concat())
            .await?;
        self.stream.flush().await
    }
}

/// Takes the first message off what has come, once it is whole.
fn take(line: Line, pending: &mut Vec<u8>) -> io::Result<Option<Message>> {
    let split = pending
        .split_first_chunk::<4>()
        .and_then(|(length, rest)| Some((length, rest.split_first_chunk::<4>()?)));
    let Some((length, (stream, &[kind, _flags, ref rest @ ..]))) = split else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > MAX_BODY {
        return Err(odd(&format!("a message of {length} bytes")));
    }
    let kind = match kind {
        1 => MessageKind::Request,
        2 => MessageKind::Response,
        other => return Err(odd(&format!("a message of type {other}"))),
    };
    let Some(body) = rest.get(..length).map(<[u8]>::to_vec) else {
        return Ok(None);
    };
    let stream = u32::from_be_bytes(*stream);
    pending.drain(..HEADER + length);
    Ok(Some(Message {
        line,
        kind,
        stream,
        body,
    }))
}

fn odd(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{what}, which is not NRI"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(line: u32, payload: &[u8]) -> Vec<u8> {
        [
            &line.to_be_bytes(),
            &u32::try_from(payload.len()).unwrap().to_be_bytes(),
            payload,
        ]
        .concat()
    }

    fn message(kind: u8, stream: u32, body: &[u8]) -> Vec<u8> {
        [
            &u32::try_from(body.len()).unwrap().to_be_bytes(),
            &stream.to_be_bytes(),
            &[kind, 0][..],
            body,
        ]
        .concat()
    }

    /// All messages in these bytes, and how they end.
    async fn read(bytes: &[u8]) -> (Vec<Message>, io::Error) {
        let mut trunk = TtrpcMux::new(tokio::io::join(bytes, tokio::io::sink()));
        let mut messages = Vec::new();
        loop {
            match trunk.next().await {
                Ok(message) => messages.push(message),
                Err(error) => return (messages, error),
            }
        }
    }

    #[tokio::test]
    async fn messages_come_out_whole_however_they_are_cut_into_frames_and_mixed() {
        let (ask, answer) = (message(1, 1, b"ask"), message(2, 7, b""));
        let (begin, end) = ask.split_at(4);
        let bytes = [
            frame(1, begin),
            frame(2, &answer),
            frame(1, &[end, &message(1, 3, b"again")].concat()),
        ]
        .concat();
        let (messages, end) = read(&bytes).await;
        let told: Vec<_> = messages
            .iter()
            .map(|one| (one.line, one.kind, one.stream, one.body.as_slice()))
            .collect();
        let wanted = [
            (Line::Runtime, MessageKind::Response, 7, &b""[..]),
            (Line::Plugin, MessageKind::Request, 1, b"ask"),
            (Line::Plugin, MessageKind::Request, 3, b"again"),
        ];
        assert_eq!(
            (told.as_slice(), end.kind()),
            (&wanted[..], io::ErrorKind::UnexpectedEof)
        );
    }

    #[tokio::test]
    async fn what_nri_would_not_send_ends_the_connection() {
        let huge = u32::try_from(MAX_FRAME + 1).unwrap().to_be_bytes();
        let large = u32::try_from(MAX_BODY + 1).unwrap().to_be_bytes();
        for (bytes, why) in [
            (frame(0, b"x"), "connection 0"),
            (frame(3, b"x"), "connection 3"),
            (frame(u32::MAX, b"x"), "connection 4294967295"),
            (frame(1, b""), "a frame of 0 bytes"),
            (
                [&[0, 0, 0, 1], &huge[..]].concat(),
                "a frame of 4194315 bytes",
            ),
            (
                [0, 0, 0, 1, 255, 255, 255, 255].to_vec(),
                "a frame of 4294967295 bytes",
            ),
            (
                frame(1, &[&large[..], &[0, 0, 0, 1, 1, 0]].concat()),
                "a message of 4194305 bytes",
            ),
            (frame(2, &message(3, 1, b"")), "a message of type 3"),
            (frame(2, &message(0, 1, b"")), "a message of type 0"),
        ] {
            let (messages, error) = read(&bytes).await;
            assert!(
                messages.is_empty() && error.to_string().contains(why),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn what_is_cut_short_is_no_message() {
        let whole = frame(1, &message(1, 1, b"ask"));
        for length in 0..whole.len() {
            let (messages, error) = read(&whole[..length]).await;
            assert_eq!(
                (messages.len(), error.kind()),
                (0, io::ErrorKind::UnexpectedEof),
                "{length}"
            );
        }
    }

    #[tokio::test]
    async fn a_frame_that_is_announced_and_never_comes_takes_no_room() {
        let announced = [
            &[0, 0, 0, 1][..],
            &u32::try_from(MAX_FRAME).unwrap().to_be_bytes(),
            &[0; 100],
        ]
        .concat();
        let mut trunk = TtrpcMux::new(tokio::io::join(announced.as_slice(), tokio::io::sink()));
        assert!(trunk.next().await.is_err());
        assert!(
            trunk.pending[0].capacity() < 4096,
            "{}",
            trunk.pending[0].capacity()
        );
    }

    #[tokio::test]
    async fn an_answer_is_one_frame_that_containerd_can_read_at_once() {
        let mut sent = Vec::new();
        let mut trunk = TtrpcMux::new(tokio::io::join(tokio::io::empty(), &mut sent));
        trunk
            .send(Line::Plugin, MessageKind::Response, 5, b"yes")
            .await
            .unwrap();
        assert!(
            trunk
                .send(Line::Plugin, MessageKind::Response, 5, &[0; MAX_SENT])
                .await
                .is_err()
        );
        assert_eq!(sent, frame(1, &message(2, 5, b"yes")));
    }
}
