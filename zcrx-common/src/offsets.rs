//! Where fields of kernel structures lie on the kernel that runs.
//!
//! User space looks the fields up in the kernel's own type information and hands them over as one read-only global
//! that is frozen before the programs are loaded: the verifier sees constants, so code for a field that this
//! kernel does not have is never even verified.

/// The offset of a field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// What the programs take a field for. A field of another shape is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An integer of at least so many bytes. Of a wider one the programs read the low bytes, which come first on the
    /// little-endian machines that zcrxd runs on.
    Integer(u32),
    /// A pointer to a structure of that name; to anything for `None`.
    Pointer(Option<&'static str>),
    /// An array of at least so many bytes, with elements of that size.
    Array {
        /// Bytes of all elements.
        bytes: u32,
        /// Bytes of an element.
        element: u32,
    },
    /// Something of which only the place is needed.
    Structure,
    /// Not a field: the size of the structure takes the place of the offset.
    Size,
}

/// A place where some kernels keep a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The structure.
    pub structure: &'static str,
    /// Dotted path in the structure. After `->` the path goes on in the structure that a pointer points to, and the offset counts
    /// from there.
    pub path: &'static str,
}

macro_rules! shape {
    (integer $bytes:literal) => {
        Shape::Integer($bytes)
    };
    (pointer $to:literal) => {
        Shape::Pointer(Some($to))
    };
    (pointer) => {
        Shape::Pointer(None)
    };
    (array $bytes:literal of $element:literal) => {
        Shape::Array { bytes: $bytes, element: $element }
    };
    (structure) => {
        Shape::Structure
    };
    (size) => {
        Shape::Size
    };
}

/// Declares the table of offsets: a name, the shape that the programs read, and the places where kernels keep the field,
/// newest first.
macro_rules! offsets {
    ($($(#[$doc:meta])* $field:ident: $kind:ident $($detail:literal $(of $element:literal)?)? =
        $($structure:literal $path:literal)|+;)+) => {
        /// Byte offsets, [`ABSENT`] where the kernel has no such field.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Offsets {
            $($(#[$doc])* #[doc = concat!("\n\nKernel: ", $("`", $structure, ".", $path, "` "),+)] pub $field: u32,)+
        }

        impl Offsets {
            /// Nothing is known.
            pub const NONE: Self = Self { $($field: ABSENT,)+ };

            /// Names of all fields, in the order of declaration.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($field)),+];

            /// Fills the table from `look_up(name, shape, places)`, which answers with an offset or [`ABSENT`].
            pub fn resolve(mut look_up: impl FnMut(&'static str, Shape, &'static [Place]) -> u32) -> Self {
                Self {
                    $($field: look_up(
                        stringify!($field),
                        shape!($kind $($detail $(of $element)?)?),
                        &[$(Place { structure: $structure, path: $path }),+],
                    ),)+
                }
            }

            /// Every field with its offset, in the order of declaration.
            pub fn entries(&self) -> impl Iterator<Item = (&'static str, u32)> {
                Self::NAMES.iter().copied().zip([$(self.$field),+])
            }
        }

        const _: () = assert!(size_of::<Offsets>() == 4 * Offsets::NAMES.len());
    };
}

mod table;

pub use table::Offsets;
