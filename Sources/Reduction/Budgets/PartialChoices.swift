/// Choices for the last items, none worse than another in both weight and value: ascending in weight, values descending
/// strictly. What dynamic programming carries from item to item.
struct PartialChoices {
  /// Which state of the item after this one a state goes on from, and by which choice of this item.
  struct Link {
    var parent: Int32
    var choice: Int32
  }

  struct State {
    var weight: Double
    var value: Double
    var link: Link
  }

  private(set) var states: [State]

  /// Nothing chosen yet.
  static var start: PartialChoices {
    PartialChoices(states: [State(weight: 0, value: 0, link: Link(parent: 0, choice: 0))])
  }

  var links: [Link] { states.map(\.link) }

  /// The states after one choice more, of those for which `keeps` holds.
  func adding(
    _ choice: ChoiceFrontier.Choice, at position: Int, where keeps: (_ weight: Double, _ value: Double) -> Bool
  ) -> PartialChoices {
    PartialChoices(atMost: states.count) { list in
      for (parent, state) in states.enumerated() {
        let (weight, value) = (state.weight + choice.weight, state.value + choice.value)
        guard keeps(weight, value) else { continue }
        let link = Link(parent: Int32(truncatingIfNeeded: parent), choice: Int32(truncatingIfNeeded: position))
        list.append(State(weight: weight, value: value, link: link))
      }
    }
  }

  /// Of equal states that of `first` stays.
  static func merging(_ first: PartialChoices, _ second: PartialChoices) -> PartialChoices {
    if second.states.isEmpty { return first }
    if first.states.isEmpty { return second }
    return first.states.withUnsafeBufferPointer { a in
      second.states.withUnsafeBufferPointer { b in
        PartialChoices(atMost: a.count + b.count) { list in
          var (i, j) = (0, 0)
          while i < a.count, j < b.count {
            if a[i].weight < b[j].weight || a[i].weight == b[j].weight && a[i].value <= b[j].value {
              list.append(a[i])
              i += 1
            } else {
              list.append(b[j])
              j += 1
            }
          }
          while i < a.count {
            list.append(a[i])
            i += 1
          }
          while j < b.count {
            list.append(b[j])
            j += 1
          }
        }
      }
    }
  }

  /// A list in the making.
  private struct List {
    let states: UnsafeMutableBufferPointer<State>
    var count = 0

    /// Adds a state that is not lighter than the last, unless that is as good.
    @inline(__always) mutating func append(_ state: State) {
      if count > 0 {
        guard state.value < states[count - 1].value else { return }
        if state.weight == states[count - 1].weight { count -= 1 }
      }
      states[count] = state
      count += 1
    }
  }

  private init(states: [State]) { self.states = states }

  /// - Parameter most: how often `fill` appends at most.
  private init(atMost most: Int, _ fill: (inout List) -> Void) {
    states = [State](unsafeUninitializedCapacity: most) { buffer, count in
      var list = List(states: buffer)
      fill(&list)
      count = list.count
    }
  }

  /// The `count` states of the least score, of equal scores the lightest.
  func least(_ count: Int, by score: (State) -> Double) -> PartialChoices {
    guard states.count > count else { return self }
    let scores = states.map(score)
    var marks = [UInt8](repeating: 0, count: states.count)
    scores.withUnsafeBufferPointer { scores in
      marks.withUnsafeMutableBufferPointer { marks in
        if let start = marks.baseAddress { OrderStatistic.markLeast(count, of: scores, start) }
      }
    }
    return PartialChoices(states: zip(states, marks).lazy.filter { $0.1 != 0 }.map(\.0))
  }
}
