/** What `checkBlock` answers in its first byte. */

/** Nobody knows yet: the segment has no accepted root. */
export const NOT_ANCHORED: u8 = 0;
/** The slot had the block that was asked for. */
export const BLOCK: u8 = 1;
export const OTHER_BLOCK: u8 = 2;
export const MISS: u8 = 3;
