/// Orders of scores.
enum Ranking {
  /// Indices in descending order of score, of equal ones the first first.
  static func descending(_ scores: [Double]) -> [Int] {
    scores.indices.sorted { scores[$0] != scores[$1] ? scores[$0] > scores[$1] : $0 < $1 }
  }

  static func largest(_ count: Int, of scores: [Double]) -> [Int] { Array(descending(scores).prefix(count)) }
}
