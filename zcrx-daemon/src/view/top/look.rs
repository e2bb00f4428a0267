//! What the terminal can show.

use ratatui::buffer::Buffer;
use ratatui::style::Color;

/// What a frame may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Colours.
    pub colour: bool,
    /// More than ASCII.
    pub unicode: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self { colour: true, unicode: true }
    }
}

impl Look {
    /// Takes out of a frame what must not be in it.
    pub(super) fn apply(self, buffer: &mut Buffer) {
        for cell in &mut buffer.content {
            if !self.colour {
                cell.fg = Color::Reset;
                cell.bg = Color::Reset;
            }
            if !self.unicode && !cell.symbol().is_ascii() {
                cell.set_char(cell.symbol().chars().next().map_or(' ', ascii));
            }
        }
    }
}

/// What stands for a character where there is only ASCII; the darker, the more ink.
const fn ascii(character: char) -> char {
    match character {
        '█' | '▇' => '#',
        '▓' | '▆' => '%',
        '▒' | '▅' => '+',
        '░' | '▃' | '─' | '▄' => '-',
        '·' | '▁' | '▂' => '.',
        '│' => '|',
        '\u{202f}' | '\u{a0}' => ' ',
        'µ' => 'u',
        _ => '?',
    }
}
