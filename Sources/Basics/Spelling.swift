/// Finding what a misspelt word was meant to be.
public enum Spelling {
  /// The candidate nearest to `word`, if it is near enough to be meant.
  public static func nearest(to word: String, among candidates: some Sequence<String>) -> String? {
    let ranked = candidates.map { (distance(word.lowercased(), $0.lowercased()), $0) }.min { $0 < $1 }
    guard let ranked, ranked.0 <= max(2, word.count / 3) else { return nil }
    return ranked.1
  }

  /// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other
  /// (Damerau 1964, restricted).
  public static func distance(_ a: String, _ b: String) -> Int {
    let (a, b) = (Array(a), Array(b))
    var before = [Int](repeating: 0, count: b.count + 1)
    var last = Array(0...b.count)
    for i in a.indices {
      var row = [i + 1]
      for j in b.indices {
        var cost = min(last[j + 1] + 1, row[j] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
        if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { cost = min(cost, before[j - 1] + 1) }
        row.append(cost)
      }
      (before, last) = (last, row)
    }
    return last[b.count]
  }
}
