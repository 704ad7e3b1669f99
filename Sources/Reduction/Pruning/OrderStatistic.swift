internal import CKernels

/// Exact order statistics of values in memory.
enum OrderStatistic {
  /// The value that `rank` others precede when `values` ascend; NaN is not allowed.
  ///
  /// A sample brackets it, one pass collects what lies in the bracket, and a search among those ends it. Where the sample
  /// misled, the search goes through all. The result depends on the values alone.
  ///
  /// - Parameter rank: from 0 to count - 1.
  static func value(ofRank rank: Int, in values: UnsafeBufferPointer<Double>) -> Double {
    let count = values.count
    guard let base = values.baseAddress, count >= 256 else { return search(Array(values), rank) }
    let wanted = count > 16384 ? 4096 : count > 2048 ? 512 : 64
    let step = count / wanted
    let sample = stride(from: step / 2, to: count, by: step).map { values[$0] }.sorted()
    let center = rank * sample.count / count
    // Six standard deviations of a rank in the largest sample, three in the smallest.
    let margin = count > 16384 ? 192 : count > 2048 ? 48 : 12
    let low = center < margin ? -Double.infinity : sample[center - margin]
    let high = center + margin >= sample.count ? Double.infinity : sample[center + margin]
    var below: Int64 = 0
    let between = [Double](unsafeUninitializedCapacity: count) { buffer, kept in
      guard let target = buffer.baseAddress else { return }
      kept = Int(es_prune_bracket(base, Int64(count), low, high, &below, target))
    }
    let place = rank - Int(below)
    guard between.indices.contains(place) else { return search(Array(values), rank) }
    return search(between, place)
  }

  /// Marks the `count` least values, equal ones by index, with 1.
  static func markLeast(_ count: Int, of values: UnsafeBufferPointer<Double>, _ marks: UnsafeMutablePointer<UInt8>) {
    guard count < values.count else {
      for index in values.indices { marks[index] = 1 }
      return
    }
    guard count > 0 else { return marks.update(repeating: 0, count: values.count) }
    let cut = value(ofRank: count - 1, in: values)
    var equal = count
    for index in values.indices {
      marks[index] = values[index] < cut ? 1 : 0
      equal -= Int(marks[index])
    }
    for index in values.indices where values[index] == cut && equal > 0 {
      marks[index] = 1
      equal -= 1
    }
  }

  /// Hoare's quickselect with the middle element as pivot (Communications of the ACM 4, 1961, algorithm 65).
  private static func search(_ values: [Double], _ rank: Int) -> Double {
    var values = values
    return values.withUnsafeMutableBufferPointer { values in
      var (low, high) = (0, values.count - 1)
      while low < high {
        let pivot = values[low + (high - low) / 2]
        var (i, j) = (low, high)
        while i <= j {
          while values[i] < pivot { i += 1 }
          while values[j] > pivot { j -= 1 }
          if i <= j {
            values.swapAt(i, j)
            i += 1
            j -= 1
          }
        }
        if rank <= j { high = j } else if rank >= i { low = i } else { return values[rank] }
      }
      return values[low]
    }
  }
}
