/** Why something was not counted or not paid. One byte in records; `reasonText` is what events and views say. */

export const PASSED: u8 = 0;
export const MISSING: u8 = 1;
export const MALFORMED: u8 = 2;
export const SUM_PATH: u8 = 3;
export const NOT_DRAWN: u8 = 4;
export const LEAF_LENGTH: u8 = 5;
export const LEAF_PATH: u8 = 6;
export const SEGMENT_UNKNOWN: u8 = 7;
export const ARCHIVE_PATH: u8 = 8;
// Of a whole round.
export const SILENT: u8 = 16;
export const MINORITY: u8 = 17;
export const VOID: u8 = 18;
export const PAUSED: u8 = 19;
export const REFUTED: u8 = 20;
export const SOME_MISSED: u8 = 21;

export function reasonText(reason: u8): string {
  switch (reason) {
    case PASSED:
      return 'passed';
    case MISSING:
      return 'missing';
    case MALFORMED:
      return 'malformed';
    case SUM_PATH:
      return 'sum path does not end in the claim';
    case NOT_DRAWN:
      return 'not the drawn leaf';
    case LEAF_LENGTH:
      return 'wrong leaf length';
    case LEAF_PATH:
      return 'leaf path does not end in the chunk id';
    case SEGMENT_UNKNOWN:
      return 'segment not anchored';
    case ARCHIVE_PATH:
      return 'archive path does not end in the segment root';
    case SILENT:
      return 'silent';
    case MINORITY:
      return 'minority beacon';
    case VOID:
      return 'void round';
    case PAUSED:
      return 'paused round';
    case REFUTED:
      return 'refuted';
    case SOME_MISSED:
      return 'draws missed';
    default:
      return 'unknown';
  }
}
