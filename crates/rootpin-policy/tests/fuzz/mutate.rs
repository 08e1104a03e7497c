//! Changes of examples: of bytes, and of the structure that texts in brackets have.

/// A small generator of numbers (`SplitMix64`): a seed gives the same inputs on every machine.
pub struct Random(pub u64);

/// What readers are known to stumble over.
const WORDS: [&[u8]; 34] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b",",
    b":",
    b"null",
    b"true",
    b"-0",
    b"1e999",
    b"18446744073709551616",
    b"9007199254740993",
    b"-1",
    b"0x1",
    b"\\u0000",
    b"\\ud800",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\0",
    b"\r\n",
    b"../",
    b"%2e%2e",
    b"sha256:",
    b"-----BEGIN CERTIFICATE-----\n",
    b"-----END PUBLIC KEY-----\n",
    b"\"version\":1,",
    b"\"signatures\":[],",
    b"[[rule]]\n",
    b"**",
    b"@",
    b"9999-12-31T23:59:60Z",
    b"\xe2\x80\xae",
];

impl Random {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    /// An input: an example with one change or several.
    pub fn input(&mut self, examples: &[&[u8]]) -> Vec<u8> {
        let mut input = examples[self.below(examples.len())].to_vec();
        for _ in 0..=self.below(4) {
            let other = examples[self.below(examples.len())];
            self.change(&mut input, other);
        }
        input.truncate(64 << 10);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        let (at, length) = (self.below(input.len() + 1), 1 + self.below(16));
        let end = (at + length).min(input.len());
        match self.below(9) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
            1 => drop(input.drain(at..end)),
            2 => {
                let copied = input[at..end].to_vec();
                let times = 1 + self.below(200);
                let _ = input.splice(at..at, copied.repeat(times)).count();
            }
            3 | 4 => {
                let word = WORDS[self.below(WORDS.len())];
                let end = if self.below(2) == 0 { at } else { end };
                let times = if self.below(20) == 0 { 500 } else { 1 };
                let _ = input.splice(at..end, word.repeat(times)).count();
            }
            5 => input.truncate(at),
            6 => {
                let from = self.below(other.len() + 1);
                let _ = input.splice(at.., other[from..].iter().copied()).count();
            }
            // A whole value in another one's place, or once more beside itself.
            7 => {
                let (here, there) = (self.value(input), self.value(other));
                let _ = input.splice(here, other[there].iter().copied()).count();
            }
            _ => {
                let here = self.value(input);
                let copied = [&input[here.clone()], b","].concat();
                let _ = input.splice(here.start..here.start, copied).count();
            }
        }
    }

    /// A range that begins with a bracket or a quote and ends with its partner.
    fn value(&mut self, text: &[u8]) -> std::ops::Range<usize> {
        let from = self.below(text.len() + 1);
        let open = |byte: &u8| b"{[\"".contains(byte);
        let Some(begin) = text[from..].iter().position(open).map(|at| at + from) else {
            return from..from;
        };
        let mut depth = 0_usize;
        for (at, byte) in text.iter().enumerate().skip(begin) {
            match (text[begin], byte) {
                (b'"', b'"') if at > begin => return begin..at + 1,
                (b'"', _) => {}
                (_, b'{' | b'[') => depth += 1,
                (_, b'}' | b']') => {
                    depth -= 1;
                    if depth == 0 {
                        return begin..at + 1;
                    }
                }
                _ => {}
            }
        }
        begin..text.len()
    }
}
