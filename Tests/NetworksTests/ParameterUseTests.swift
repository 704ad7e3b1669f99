import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import Testing

@testable import EspalierNetworks

/// A network reads what its description describes, all of it and nothing else.
@Suite struct ParameterUseTests {
  @Test(arguments: Golden.names.map(Golden.init))
  func everyParameterIsReadOnce(golden: Golden) throws {
    let checkpoint = try SafetensorsCheckpoint(at: golden.path)
    let network = try golden.network()
    let description = network.program.description
    var uses: [String: Int] = [:]
    for name in network.parametersRead { uses[name, default: 0] += 1 }

    for parameter in description.parameters where parameter.role.part != .buffer {
      let isStored = checkpoint.parameters.contains { stored in
        ([parameter.name] + parameter.aliases).contains { ExactString($0) == ExactString(stored.name) }
      }
      // A tensor that stacks others, or what others are tied to, is read under their names.
      let stands = description.parameters.contains { $0.tiedTo == parameter.name && uses[$0.name] != nil }
      if !parameter.replaces.isEmpty || stands { continue }
      let count = uses[parameter.name] ?? 0
      if parameter.isOptional && !isStored && count == 0 { continue }
      #expect(count == 1, "\(parameter.name)")
    }
    #expect(Set(uses.keys).subtracting(description.parameters.map(\.name)) == [])
  }

  @Test func aMissingParameterIsNamed() throws {
    let checkpoint = try SafetensorsCheckpoint(at: Golden(name: "llama_gqa_untied").path)
    let lacking = Lacking(checkpoint, "model.layers.1.mlp.up_proj.weight")
    let problem = #expect(throws: Problem.self) { try Network(lacking, workers: Golden.workers) }
    #expect(problem?.code == .networkParameter)
    #expect(problem?.context.tensor == "model.layers.1.mlp.up_proj.weight")
  }

  @Test func aShapeThatContradictsTheConfigIsNamed() throws {
    let checkpoint = try SafetensorsCheckpoint(at: Golden(name: "llama_gqa_untied").path)
    let other = Lacking(checkpoint, nil, config: ["intermediate_size": 96])
    let problem = #expect(throws: Problem.self) { try Network(other, workers: Golden.workers) }
    #expect(problem?.code == .networkParameter)
    #expect(problem?.message == "the shape is [80, 48], and [96, 48] by the config")
  }
}

/// A checkpoint without one of its parameters, or with other config keys.
struct Lacking: Checkpoint {
  let location = "changed"
  let config: JSON?
  let parameters: [Parameter]
  let folder: String? = nil
  let weightFiles: [String]
  let warnings: [Problem] = []

  init(_ base: any Checkpoint, _ name: String? = nil, config changes: JSON = [:]) {
    var config = base.config
    for (key, value) in changes.members?.pairs ?? [] { config?[key] = value }
    self.config = config
    parameters = base.parameters.filter { $0.name != name }
    weightFiles = base.weightFiles
  }
}
