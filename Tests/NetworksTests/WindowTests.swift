import CKernels
import Testing

@testable import EspalierNetworks

/// Windows over pictures, worked by hand, and the buckets of relative positions.
@Suite struct WindowTests {
  /// Three by three pixels of two channels: channel 0 counts from 1, channel 1 is ten times that.
  private let picture: [Float] = (1...9).flatMap { [Float($0), Float($0) * 10] }
  private func window(_ size: Int64, stride: Int64, padding: Int64, columns: Int64) -> es_window {
    es_window(
      height: 3, width: 3, channels: 2, kernel_height: size, kernel_width: size, stride: stride, padding: padding,
      columns: columns)
  }

  @Test func unfolding() {
    var inner = window(2, stride: 1, padding: 0, columns: 2)
    var out = [Float](repeating: .nan, count: 8)
    es_unfold(&inner, picture, 3, 4, &out)
    #expect(out == [5, 6, 8, 9, 50, 60, 80, 90])
    var edge = window(3, stride: 2, padding: 1, columns: 2)
    out = [Float](repeating: .nan, count: 18)
    es_unfold(&edge, picture, 1, 2, &out)
    #expect(out == [0, 0, 0, 2, 3, 0, 5, 6, 0, 0, 0, 0, 20, 30, 0, 50, 60, 0])
  }

  @Test func poolingByTheLargest() {
    var edge = window(3, stride: 2, padding: 1, columns: 2)
    var out = [Float](repeating: .nan, count: 8)
    es_max_pool(&edge, picture, 0, 4, &out)
    #expect(out == [5, 50, 6, 60, 8, 80, 9, 90])
    // What lies beyond the edge is not 0, and a NaN is seen.
    let negative = picture.map { -$0 }
    es_max_pool(&edge, negative, 0, 4, &out)
    #expect(out == [-1, -10, -2, -20, -4, -40, -5, -50])
    var broken = picture
    broken[0] = .nan
    es_max_pool(&edge, broken, 0, 4, &out)
    #expect(out[0].isNaN && Array(out[1...]) == [50, 6, 60, 8, 80, 9, 90])
  }

  @Test func meansAndNormalizedColumns() {
    var mean = [Float](repeating: .nan, count: 2)
    es_mean_of_rows(picture, &mean, 9, 2)
    #expect(mean == [5, 50])
    var out = [Float](repeating: .nan, count: 4)
    es_normalize_columns([3, 5, 7, 9], [1, 2], [0.5, 2], [10, 20], &out, 2, 2)
    #expect(out == [11, 26, 13, 34])
  }

  /// The least distance in each bucket, as the reference implementation of T5 has them.
  @Test(arguments: [
    (16, 128, [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]),
    (
      32, 128,
      [
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87,
        99,
        113,
      ]
    ),
    (4, 20, [0, 1, 2, 7]), (8, 20, [0, 1, 2, 3, 4, 6, 9, 14]), (3, 9, [0, 1, 3]),
  ])
  func bucketsOfRelativePositions(count: Int, reach: Int, firsts: [Int]) {
    for distance in 0...reach + 30 {
      let expected = (firsts.firstIndex { $0 > distance } ?? firsts.count) - 1
      #expect(RelativeBiasOperation.bucket(distance, of: count, reach: reach) == expected, "\(distance)")
    }
  }
}
