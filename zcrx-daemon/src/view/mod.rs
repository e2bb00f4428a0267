//! Says it to people.

pub mod landing;
