import CKernels

/// What comes first when elements are ranked. Equal ones are ranked by index, the lowest first.
///
/// By magnitude, zeros of both signs are equal and a NaN is larger than infinity. By value, -0 is less than 0 and NaNs
/// lie beyond the infinity of their sign.
public enum RankOrder: Sendable, Hashable {
  case largestMagnitude, smallestMagnitude, largestValue, smallestValue

  /// Turns bits into keys that are larger for what comes first.
  var keys: es_key_order {
    switch self {
    case .largestMagnitude: es_key_order(mask: 0x7fff_ffff, flip: 0)
    case .smallestMagnitude: es_key_order(mask: 0x7fff_ffff, flip: 0x7fff_ffff)
    case .largestValue: es_key_order(mask: 0xffff_ffff, flip: 0x8000_0000)
    case .smallestValue: es_key_order(mask: 0xffff_ffff, flip: 0x7fff_ffff)
    }
  }

  /// The largest key there is.
  var greatestKey: UInt32 { keys.mask }

  func key(of value: Float) -> UInt32 {
    let bits = value.bitPattern & keys.mask
    return bits ^ (bits >> 31 == 0 ? 0 : 0x7fff_ffff) ^ keys.flip
  }
}

/// Where a ranking of the elements of a tensor is cut: what comes before the cut is kept.
///
/// The tensor is seen as blocks. An element is kept iff it comes before ``value`` in the order, or equals it and lies
/// in a block before ``block``, or is one of the first ``quota`` such elements of that block.
public struct RankCut: Sendable, Hashable {
  public let order: RankOrder
  /// The key of the last kept element: larger keys come first.
  let key: UInt32
  /// The block in which the last kept element lies.
  public let block: Int
  /// How many elements of that block with the last kept value are kept.
  public let quota: Int

  /// Keeps nothing.
  public static func none(_ order: RankOrder) -> RankCut {
    RankCut(order: order, key: order.greatestKey, block: 0, quota: 0)
  }

  /// Keeps everything.
  public static func all(_ order: RankOrder) -> RankCut { RankCut(order: order, key: 0, block: .max, quota: 0) }

  /// The last kept element: its value, or its magnitude when those are ranked.
  public var value: Float {
    // The inverse of the map from bits to keys, which keeps the sign bit or flips it.
    let bits = key ^ order.keys.flip
    return Float(bitPattern: bits >> 31 == 0 ? bits : bits ^ 0x7fff_ffff)
  }

  /// How many of a block's elements that equal ``value`` are kept, the first ones; `Int.max` means all.
  public func quota(inBlock block: Int) -> Int {
    block < self.block ? .max : block == self.block ? quota : 0
  }

  /// Sets to 0 what is not kept in a block.
  ///
  /// - Parameters:
  ///   - values: the `count` elements of the block.
  ///   - block: the number of the block, as it was when the cut was found.
  public func apply(to values: UnsafeMutablePointer<Float>, count: Int, block: Int) {
    es_apply_cut(values, Int64(count), order.keys, key, Int64(quota(inBlock: block)))
  }
}
