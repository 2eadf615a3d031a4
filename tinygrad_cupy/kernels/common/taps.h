/* Which taps of a window lie in an image, along one axis. */

/* From .low up to .high. */
typedef struct {
  Int low, high;
} Range;

/* Of the window at ``place``, whose first tap lies at place * stride - padding. */
INLINE Range taps_met(Int place, Int stride, Int padding, Int dilation, Int kernel, Int size)
{
  Int first = place * stride - padding;
  Int low = first >= 0 ? 0 : (-first + dilation - 1) / dilation;
  Int high = first >= size ? 0 : (size - 1 - first) / dilation + 1;
  high = high < kernel ? high : kernel;
  return (Range){low, high < low ? low : high};
}
