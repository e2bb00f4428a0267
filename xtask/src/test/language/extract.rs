//! Takes a source file apart into the pieces of text that a person reads.

/// What kind of text a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A comment, doc comments included.
    Comment,
    /// A string literal of production code, or the help text of a command-line flag.
    Message,
    /// A page of documentation, or a configuration file that users open.
    Document,
    /// An identifier.
    Name,
}

/// Consecutive lines of one kind: phrases may run from one line to the next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Kind of the text.
    pub kind: Kind,
    /// Line numbers (from 1) with the text of each line.
    pub lines: Vec<(usize, String)>,
}

/// Returns the pieces of a Rust file. `doc_comments_are_help` is set for files whose doc comments clap prints.
pub(super) fn rust(text: &str, doc_comments_are_help: bool) -> Vec<Piece> {
    let mut lexer =
        Lexer { rest: text, line: 1, pieces: Vec::new(), names: Vec::new(), doc_comments_are_help };
    while lexer.step() {}
    let mut pieces = lexer.pieces;
    pieces.extend(lexer.names.into_iter().map(|name| Piece { kind: Kind::Name, lines: vec![name] }));
    pieces
}

/// Returns the part of a Rust file before its unit tests.
pub(super) fn production_part(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |end| &text[..end])
}

/// Returns the comments of a file in which `#` or `//` begins one; `/* */` as in C.
pub(super) fn comments(text: &str, marker: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut in_block = false;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let comment = if in_block {
            in_block = !line.contains("*/");
            Some(trimmed)
        } else if marker == "//" && trimmed.contains("/*") {
            in_block = !line.contains("*/");
            trimmed.split_once("/*").map(|(_, comment)| comment)
        } else if let Some(comment) = trimmed.strip_prefix(marker) {
            Some(comment)
        } else {
            line.split_once(&format!(" {marker} ")).map(|(_, comment)| comment)
        };
        if let Some(comment) = comment {
            push_line(&mut pieces, Kind::Comment, index + 1, comment);
        }
    }
    pieces
}

/// Returns all lines of a document.
pub(super) fn document(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        push_line(&mut pieces, Kind::Document, index + 1, line);
    }
    pieces
}

/// Adds a line to the last piece if it continues that piece, otherwise as a new piece.
fn push_line(pieces: &mut Vec<Piece>, kind: Kind, number: usize, text: &str) {
    if let Some(last) = pieces.last_mut() {
        let continues = last.lines.last().is_some_and(|(before, _)| before + 1 == number);
        if last.kind == kind && continues {
            last.lines.push((number, text.to_owned()));
            return;
        }
    }
    pieces.push(Piece { kind, lines: vec![(number, text.to_owned())] });
}

/// Reads Rust tokens as far as needed to separate comments, strings and identifiers.
struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    pieces: Vec<Piece>,
    names: Vec<(usize, String)>,
    doc_comments_are_help: bool,
}

impl<'a> Lexer<'a> {
    /// Consumes one token; returns false at the end of the file.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        if self.rest.starts_with("//") {
            self.line_comment();
        } else if self.rest.starts_with("/*") {
            let length = block_comment_length(self.rest);
            let text = self.take(length);
            self.push_text(Kind::Comment, text);
        } else if let Some(length) = raw_string_length(self.rest) {
            let text = self.take(length);
            self.push_text(Kind::Message, text);
        } else if first == '"' || self.rest.starts_with("b\"") || self.rest.starts_with("c\"") {
            let length = string_length(self.rest);
            let text = self.take(length);
            self.push_text(Kind::Message, text);
        } else if first == '\'' {
            let length = char_or_lifetime_length(self.rest);
            self.take(length);
        } else if first.is_alphabetic() || first == '_' {
            let length =
                self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
            let line = self.line;
            let name = self.take(length);
            self.names.push((line, name.to_owned()));
        } else {
            self.take(first.len_utf8());
        }
        true
    }

    /// Consumes so many bytes and counts their lines. Strings are recorded by their first line.
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.line += taken.matches('\n').count();
        taken
    }

    fn line_comment(&mut self) {
        let length = self.rest.find('\n').unwrap_or(self.rest.len());
        let text = self.take(length);
        let is_help = self.doc_comments_are_help && text.starts_with("///");
        let kind = if is_help { Kind::Message } else { Kind::Comment };
        push_line(&mut self.pieces, kind, self.line, text.trim_start_matches(['/', '!']));
    }

    /// Records a token that may span several lines and has just been consumed.
    fn push_text(&mut self, kind: Kind, text: &str) {
        let first = self.line - text.matches('\n').count();
        // Escapes would otherwise be read as letters of the next word.
        let text = text.replace("\\n", "  ").replace("\\t", "  ").replace("\\\n", " \n");
        let lines = text.split('\n').enumerate().map(|(index, line)| (first + index, line.to_owned()));
        self.pieces.push(Piece { kind, lines: lines.collect() });
    }
}

/// Length of a block comment, nested ones included.
fn block_comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// Length of `r"…"`, `r#"…"#`, `br"…"`; `None` if the text does not begin with a raw string.
fn raw_string_length(text: &str) -> Option<usize> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let prefix = text.len() - body.len();
    Some(body.find(&end).map_or(text.len(), |at| prefix + at + end.len()))
}

/// Length of `"…"` or `b"…"` with its escapes.
fn string_length(text: &str) -> usize {
    let opening = text.find('"').unwrap_or(0) + 1;
    let mut escaped = false;
    for (at, char) in text[opening..].char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return opening + at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of `'x'` or `'\n'`; of the quote alone for a lifetime, whose name then counts as an identifier.
fn char_or_lifetime_length(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    let Some((_, first)) = chars.next() else { return 1 };
    if first == '\\' {
        let escaped = chars.next().map_or(text.len(), |(at, char)| at + char.len_utf8());
        return text[escaped..].find('\'').map_or(text.len(), |at| escaped + at + 1);
    }
    match chars.next() {
        Some((at, '\'')) => at + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pieces: &[Piece], kind: Kind) -> Vec<String> {
        let of_kind = pieces.iter().filter(|piece| piece.kind == kind);
        of_kind
            .map(|piece| piece.lines.iter().map(|(_, line)| line.trim()).collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn strings_hide_comment_markers_and_comments_hide_quotes() {
        let pieces = rust("let a = \"// not a comment\"; // don't \"quote\"\nlet c = '\"'; // next\n", false);
        assert_eq!(texts(&pieces, Kind::Comment), ["don't \"quote\" next"]);
        assert_eq!(texts(&pieces, Kind::Message), ["\"// not a comment\""]);
        assert_eq!(texts(&pieces, Kind::Name), ["let", "a", "let", "c"]);
    }

    #[test]
    fn lifetimes_and_raw_strings_do_not_open_literals() {
        let pieces = rust("fn a<'b>(x: &'b str) { r#\"raw \" string\"#; '\\''; 'x'; } // end", false);
        assert_eq!(texts(&pieces, Kind::Message), ["r#\"raw \" string\"#"]);
        assert_eq!(texts(&pieces, Kind::Comment), ["end"]);
    }

    #[test]
    fn comment_lines_that_follow_each_other_are_one_piece() {
        let pieces = rust("/// One\n/// two.\nfn a() {}\n// Three.\n", false);
        assert_eq!(texts(&pieces, Kind::Comment), ["One two.", "Three."]);
        assert_eq!(pieces[1].lines[0].0, 4);
    }

    #[test]
    fn lines_of_a_continued_string_are_numbered() {
        let pieces = rust("\n\"one\\n\\\n two\"", false);
        assert_eq!(pieces[0].lines.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn help_of_flags_counts_as_a_message() {
        let pieces = rust("/// Shows queues\nqueues: bool, // inner\n", true);
        assert_eq!(texts(&pieces, Kind::Message), ["Shows queues"]);
        assert_eq!(texts(&pieces, Kind::Comment), ["inner"]);
    }

    #[test]
    fn comments_of_c_and_shell_are_found() {
        let c = comments("int a; /* one\n * two */\nint b; // three\n", "//");
        assert_eq!(texts(&c, Kind::Comment), ["one * two */ three"]);
        let shell = comments("#!/bin/sh\nrun # four\nx#y\n", "#");
        assert_eq!(texts(&shell, Kind::Comment), ["!/bin/sh four"]);
    }
}
