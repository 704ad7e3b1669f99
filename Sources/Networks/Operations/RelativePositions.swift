internal import CKernels
internal import EspalierArchitectures
internal import EspalierBasics

/// Biases of attention scores by the distance of key and query (Raffel et al. 2020): near distances have a bucket each,
/// far ones share buckets that grow by the logarithm.
struct RelativePositions: Sendable {
  let buckets: Int
  let distance: Int
  /// Whether keys behind the query have buckets of their own; else they count as distance 0.
  let looksAhead: Bool

  /// - Throws: `architecture.config` if the numbers leave no room for near and far buckets.
  init(buckets: Int, distance: Int, looksAhead: Bool) throws(Problem) {
    let own = looksAhead ? buckets / 2 : buckets
    guard own >= 2, distance > own / 2, distance < 1 << 20 else {
      throw Problem(
        .architectureConfig, "\(buckets) buckets of relative positions do not reach a distance of \(distance)")
    }
    (self.buckets, self.distance, self.looksAhead) = (buckets, distance, looksAhead)
  }

  /// The bucket of a key `offset` positions behind the query (negative: before it).
  ///
  /// The logarithm is rounded to float32 where the published models round it, since a bucket hangs on it.
  func bucket(_ offset: Int) -> Int {
    let own = looksAhead ? buckets / 2 : buckets
    let first = looksAhead && offset > 0 ? own : 0
    let length = looksAhead ? abs(offset) : max(0, -offset)
    let near = own / 2
    guard length >= near else { return first + length }
    let ratio = Float(FloatingPoint64.log(Double(Float(length) / Float(near))))
    let far = ratio / Float(FloatingPoint64.log(Double(distance) / Double(near))) * Float(own - near)
    return first + min(own - 1, near + Int(far))
  }

  /// The biases of every distance, head by head.
  struct Table: Sendable {
    let values: [Float]
    let limit: Int

    /// Writes a bias for each key.
    func bias(of keys: ArraySlice<Int32>, from query: Int32, head: Int, into bias: UnsafeMutablePointer<Float>) {
      values.withUnsafeBufferPointer { values in
        keys.withUnsafeBufferPointer { keys in
          es_attention_bias(
            values.baseAddress! + head * (2 * limit + 1), Int32(limit), keys.baseAddress!, Int64(keys.count), query,
            bias)
        }
      }
    }
  }

  /// - Parameter weights: `[buckets, heads]`.
  func table(_ weights: UnsafePointer<Float>, heads: Int) -> Table {
    // Everything from `distance` on is in the last bucket.
    let limit = distance
    var values: [Float] = []
    values.reserveCapacity(heads * (2 * limit + 1))
    for head in 0..<heads {
      for offset in -limit...limit { values.append(weights[bucket(offset) * heads + head]) }
    }
    return Table(values: values, limit: limit)
  }
}
