import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@Suite struct LinearAssignmentTests {
  @Test func workedByHand() throws {
    // Row 0 would have column 0 at 1, but then row 1 pays 9 more: 2 + 3 + 3 is the least of the six sums.
    let costs = try Matrix(rows: 3, columns: 3, elements: [1.0, 2, 9, 3, 12, 8, 7, 9, 3])
    #expect(try LinearAssignment.minimize(costs) == [1, 0, 2])
    #expect(try LinearAssignment.maximize(costs) == [2, 1, 0])
  }

  @Test func tiesGoToTheFirst() throws {
    let equal = try Matrix(rows: 4, columns: 4, elements: [Double](repeating: 5, count: 16))
    #expect(try LinearAssignment.minimize(equal) == [0, 1, 2, 3])
    #expect(try LinearAssignment.minimize(try Matrix(rows: 0, columns: 0, elements: [])) == [])
    #expect(try LinearAssignment.minimize(try Matrix(rows: 1, columns: 1, elements: [3])) == [0])
  }

  @Test(arguments: 1...7)
  func noOtherAssignmentIsBetter(size: Int) throws {
    var generator = SeededGenerator(seed: UInt64(size))
    for trial in 0..<40 {
      // Small whole numbers make many ties.
      let elements = (0..<size * size).map { _ in
        trial % 2 == 0
          ? Double(Int.random(in: -3...3, using: &generator)) : Double.random(in: -1...1, using: &generator)
      }
      let matrix = try Matrix(rows: size, columns: size, elements: elements)
      let sums = permutations(of: size).map { order in order.indices.reduce(0) { $0 + matrix[$1, order[$1]] } }
      for (found, best) in [
        (try LinearAssignment.minimize(matrix), sums.min() ?? 0),
        (try LinearAssignment.maximize(matrix), sums.max() ?? 0),
      ] {
        #expect(found.sorted() == Array(0..<size))
        let sum = found.indices.reduce(0) { $0 + matrix[$1, found[$1]] }
        #expect(abs(sum - best) <= 1e-12)
      }
    }
  }

  /// Prices prove an assignment: here of a size that cannot be tried out, by moving two, and three rows around.
  @Test func noExchangeIsBetter() throws {
    let size = 120
    var generator = SeededGenerator(seed: 7)
    let matrix = try Matrix(
      rows: size, columns: size, elements: (0..<size * size).map { _ in Double.random(in: 0...1, using: &generator) })
    let found = try LinearAssignment.minimize(matrix)
    #expect(Set(found).count == size)
    for i in 0..<size {
      for j in 0..<size where i != j {
        #expect(matrix[i, found[i]] + matrix[j, found[j]] <= matrix[i, found[j]] + matrix[j, found[i]] + 1e-12)
        let k = (i + j) % size
        guard k != i, k != j else { continue }
        let now = matrix[i, found[i]] + matrix[j, found[j]] + matrix[k, found[k]]
        #expect(now <= matrix[i, found[j]] + matrix[j, found[k]] + matrix[k, found[i]] + 1e-12)
      }
    }
  }

  @Test func aPlantedAssignmentIsFound() throws {
    let size = 300
    var generator = SeededGenerator(seed: 3)
    let order = (0..<size).shuffled(using: &generator)
    var elements = (0..<size * size).map { _ in Double.random(in: 0...1, using: &generator) }
    for row in 0..<size { elements[row * size + order[row]] += 1 }
    #expect(try LinearAssignment.maximize(try Matrix(rows: size, columns: size, elements: elements)) == order)
  }

  @Test func whatCannotBePairedIsRefused() throws {
    let rectangle = try Matrix(rows: 2, columns: 3, elements: [Double](repeating: 0, count: 6))
    #expect(throws: Problem(.assignment, "a matrix of 2 x 3 does not pair rows with columns")) {
      try LinearAssignment.minimize(rectangle)
    }
    #expect(throws: Problem(.assignment, "entry (1, 0) of the matrix is nan")) {
      try LinearAssignment.maximize(try Matrix(rows: 2, columns: 2, elements: [0, 1, .nan, 2]))
    }
  }

  private func permutations(of size: Int) -> [[Int]] {
    guard size > 0 else { return [[]] }
    return permutations(of: size - 1).flatMap { order in
      (0..<size).map { place in Array(order[..<place]) + [size - 1] + Array(order[place...]) }
    }
  }
}
