import EspalierBasics
import EspalierNumerics
import EspalierRecipes
import TestSupport
import Testing

/// `Examples/layer-swapping.yml` on the family in `Models`: every tensor is that of the expert it is to come from.
@Suite struct LayerSwappingTests {
  @Test func everyLayerComesFromItsExpert() throws {
    let language = try OutputModel("\(packageFolder)/Models/expert-prose")
    let task = try OutputModel("\(packageFolder)/Models/expert-arithmetic")
    let swapped = try Workplace.with { place in
      let recipe = "\(packageFolder)/Examples/layer-swapping.yml"
      _ = try MergePipeline(recipeAt: recipe, options: place.options, listener: SilentListener())
        .run(listener: SilentListener())
      return try OutputModel(place.options.output)
    }
    #expect(swapped.names.count == language.names.count)
    #expect(swapped.config?["num_hidden_layers"]?.integer == 8)
    var counts = [0, 0, 0]
    for name in swapped.names {
      #expect(language.bytes[name] != task.bytes[name], "\(name) does not tell the experts apart")
      switch Self.layer(of: name) {
      case nil, 0, 7:
        #expect(swapped.bytes[name] == language.bytes[name], "\(name)")
        counts[0] += 1
      case 1, 6:
        let mean = zip(language.values(name), task.values(name)).map { ($0 + $1) / 2 }
        #expect(swapped.bytes[name] == ElementType.bf16.bytes(of: mean), "\(name)")
        counts[1] += 1
      default:
        #expect(swapped.bytes[name] == task.bytes[name], "\(name)")
        counts[2] += 1
      }
    }
    // Nine tensors a layer; embeddings and the last norm are the language expert's.
    #expect(counts == [2 + 2 * 9, 2 * 9, 4 * 9])
  }

  private static func layer(of name: String) -> Int? {
    let parts = name.split(separator: ".")
    return parts.firstIndex(of: "layers").flatMap { Int(parts[$0 + 1]) }
  }
}
