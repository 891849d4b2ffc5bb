//! Who may: principals, grants and views.
