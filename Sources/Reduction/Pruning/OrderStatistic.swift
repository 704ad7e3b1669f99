internal import CKernels
internal import EspalierNumerics

/// Exact order statistics of values in memory; NaN is not allowed. They depend on the values alone.
enum OrderStatistic {
  /// The value that `rank` others precede when `values` ascend.
  ///
  /// - Parameter rank: from 0 to count - 1.
  static func value(ofRank rank: Int, in values: UnsafeBufferPointer<Double>) -> Double {
    guard let base = values.baseAddress else { return .nan }
    let room = Room<Double>(values.count)
    return es_prune_select(base, Int64(values.count), Int64(rank), room.values)
  }

  /// Marks the `count` least values, equal ones by index, with 1 and the others with 0.
  static func markLeast(_ count: Int, of values: UnsafeBufferPointer<Double>, _ marks: UnsafeMutablePointer<UInt8>) {
    guard let base = values.baseAddress else { return }
    let room = Room<Double>(values.count)
    es_prune_mark_least(base, Int64(values.count), Int64(count), room.values, marks)
  }

}

/// Memory for values while this one lives; what they are at first is undefined.
struct Room<Element: BitwiseCopyable>: ~Copyable {
  let values: UnsafeMutablePointer<Element>
  private let scratch: Scratch

  init(_ count: Int, of type: Element.Type = Element.self) {
    scratch = Scratch(byteCount: count * MemoryLayout<Element>.stride)
    values = scratch.address.bindMemory(to: Element.self, capacity: count)
  }
}
