internal import EspalierBasics

/// A set of byte strings with numbers, searched by prefix.
///
/// The children of a node lie in one open-addressing table under (node, byte), so that a node costs 8 bytes or so
/// whatever its number of children; the root's are in an array of their own.
struct ByteTrie: Sendable {
  private struct Edge {
    var key: UInt32 = 0
    var child: UInt32 = 0
  }

  private var root = [UInt32](repeating: 0, count: 256)
  private var edges: [Edge]
  private var shift: UInt32
  /// The number of the string that ends at a node, or -1. Node 0 is the root.
  private(set) var values: [Int32] = [-1]

  /// Numbers are those given; of equal strings, the last counts. The empty string is never found.
  ///
  /// - Throws: ``Problem/Code/tokenizerUnsupported`` if the strings are 16 MiB or more together: a node's number has
  ///   24 bits.
  init(_ strings: [(bytes: ArraySlice<UInt8>, value: Int32)]) throws(Problem) {
    guard strings.reduce(0, { $0 + $1.bytes.count }) < 1 << 24 else {
      throw Problem(.tokenizerUnsupported, "the tokens of the vocabulary are more than 16 MiB together")
    }
    edges = [Edge](repeating: Edge(), count: 1 << 8)
    shift = 32 - 8
    for (bytes, value) in strings { insert(bytes, value) }
  }

  private mutating func insert(_ bytes: ArraySlice<UInt8>, _ value: Int32) {
    var node: UInt32 = 0
    for (depth, byte) in bytes.enumerated() {
      if depth == 0 {
        if root[Int(byte)] == 0 {
          root[Int(byte)] = UInt32(values.count)
          values.append(-1)
        }
        node = root[Int(byte)]
        continue
      }
      let key = node << 8 | UInt32(byte)
      var slot = slot(of: key)
      if edges[slot].child == 0 {
        if 2 * values.count > edges.count {
          grow()
          slot = self.slot(of: key)
        }
        edges[slot] = Edge(key: key, child: UInt32(values.count))
        values.append(-1)
      }
      node = edges[slot].child
    }
    if node != 0 { values[Int(node)] = value }
  }

  private mutating func grow() {
    let old = edges
    edges = [Edge](repeating: Edge(), count: 2 * old.count)
    shift -= 1
    for edge in old where edge.child != 0 { edges[slot(of: edge.key)] = edge }
  }

  private func slot(of key: UInt32) -> Int {
    let mask = edges.count - 1
    var slot = Int((key &* 0x9E37_79B1) >> shift)
    while edges[slot].child != 0, edges[slot].key != key { slot = (slot + 1) & mask }
    return slot
  }

  /// The node reached from the root along `bytes`; nil if there is none. Along nothing it is the root, 0.
  func node(along bytes: [UInt8]) -> UInt32? {
    var node: UInt32 = 0
    for byte in bytes {
      guard let next = child(of: node, byte) else { return nil }
      node = next
    }
    return node
  }

  @inline(__always)
  func child(of node: UInt32, _ byte: UInt8) -> UInt32? {
    if node == 0 {
      let child = root[Int(byte)]
      return child == 0 ? nil : child
    }
    let key = node << 8 | UInt32(byte)
    return edges.withUnsafeBufferPointer { edges in
      let mask = edges.count - 1
      var slot = Int((key &* 0x9E37_79B1) >> shift)
      while edges[slot].child != 0 {
        if edges[slot].key == key { return edges[slot].child }
        slot = (slot + 1) & mask
      }
      return nil
    }
  }

  @inline(__always)
  func value(_ node: UInt32) -> Int32 { values.withUnsafeBufferPointer { $0[Int(node)] } }
}
