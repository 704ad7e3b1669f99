extension WorkerPool {
  /// `body(0)`, ... `body(count - 1)` in their order, several computed at once.
  ///
  /// - Throws: as ``forEach(_:_:)``.
  public func map<T>(_ count: Int, _ body: (Int) throws(Problem) -> T) throws(Problem) -> [T] {
    var results = [T?](repeating: nil, count: count)
    try results.withUnsafeMutableBufferPointer { (results) throws(Problem) in
      // Every index writes its own place.
      nonisolated(unsafe) let places = results
      try forEach(count) { (index) throws(Problem) in places[index] = try body(index) }
    }
    return results.compactMap { $0 }
  }
}
